import json
import os
import sys

import pytest

from tunix_exp.evidence import surroundings
from tunix_exp.evidence.surroundings import (
    environment_text,
    kaggle_fields,
    machine,
    recorded_environment,
    versions,
    without_home,
)


def test_the_environment_names_packages_and_recorded_variables_only() -> None:
    environ = {"JAX_PLATFORMS": "cpu", "HF_TOKEN": "hf_secret", "AWS_SECRET_ACCESS_KEY": "k", "USER": "me"}
    text = environment_text(environ)
    assert "  JAX_PLATFORMS=cpu\n" in text
    assert "  jax==" in text
    assert not any(word in text for word in ("hf_secret", "HF_TOKEN", "AWS", "USER"))


def test_no_recorded_variable_could_be_a_secret() -> None:
    assert not [n for n in surroundings.RECORDED_ENVIRONMENT if "TOKEN" in n or "KEY" in n or "SECRET" in n]


def test_the_home_folder_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    assert "JAX_COMPILATION_CACHE_DIR=~/.cache/jax" in environment_text(
        {"JAX_COMPILATION_CACHE_DIR": "/home/someone/.cache/jax"}
    )
    monkeypatch.setenv("HOME", "/")
    assert without_home("/a/b") == "/a/b"


def test_versions_name_what_decides_a_result() -> None:
    found = versions()
    assert {"python", "jax", "jaxlib", "flax", "optax", "tunix-exp"} <= found.keys()
    assert all(found.values())


def test_kaggle_fields_come_from_the_environment_alone() -> None:
    assert set(kaggle_fields({}).model_dump().values()) == {None}
    found = kaggle_fields({"KAGGLE_NOTEBOOK_URL": "https://kaggle.com/x", "KAGGLE_RUN_ID": ""})
    assert found.kaggle_notebook_url == "https://kaggle.com/x"
    assert found.kaggle_run_id is None


def test_the_machine_is_told_by_what_decides_its_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    said = "model name\t: AMD EPYC\ncpu family\t: 25\nmodel\t: 17\nstepping\t: 1\nflags\t: sse avx2 aes\n"
    monkeypatch.setattr(surroundings.Path, "read_text", lambda *_, **__: said + "\nmodel name : other\n")
    monkeypatch.setattr(surroundings.Path, "is_file", lambda _: True)
    found = machine()
    assert found.processor == "AMD EPYC (cpu family 25, model 17, stepping 1)"
    assert found.cpu_flags == "aes avx2 sse"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a process cannot be bound to processors")
def test_the_threads_are_those_that_the_process_may_use() -> None:
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert machine().threads == 1
    finally:
        os.sched_setaffinity(0, allowed)


def test_the_recorded_environment_leaves_out_what_is_not_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    environ = {"XLA_FLAGS": "--xla_dump_to=/home/someone/x", "HF_TOKEN": "hf_secret", "OMP_NUM_THREADS": ""}
    assert recorded_environment(environ) == {"XLA_FLAGS": "--xla_dump_to=~/x", "OMP_NUM_THREADS": ""}


@pytest.mark.parametrize(
    "value",
    [
        "--a=1\n  --b=2\n",
        "--a=1\r\n--b",
        "a\tb",
        " a",
        "a ",
        "a\x0bb\u2028c",
        '"a"',
        "",
        "a  b",
        "x" * 5000,
        "größe ~",
    ],
)
def test_every_value_of_a_variable_stands_on_a_line_of_its_own_and_is_read_back(value: str) -> None:
    line = surroundings.variable_line("XLA_FLAGS", value)
    assert line.splitlines() == [line]
    said = line.removeprefix("XLA_FLAGS=")
    assert (json.loads(said) if said.startswith('"') else said) == value
    assert f"\n  {line}\n" in environment_text({"XLA_FLAGS": value})


def test_a_value_that_is_no_unicode_is_recorded_as_text() -> None:
    environ = {"XLA_FLAGS": os.fsdecode(b"caf\xe9")}
    assert recorded_environment(environ) == {"XLA_FLAGS": "caf\\udce9"}
    environment_text(environ).encode("utf-8")
