import hashlib
import stat
import subprocess
from pathlib import Path

import pytest

from tunix_exp.evidence import surroundings
from tunix_exp.evidence.surroundings import (
    code_record,
    environment_text,
    git_state,
    kaggle_fields,
    nvidia_smi,
    versions,
    without_home,
)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "A")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "a@example.org")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "code.py").write_text("x = 1\n")
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True)
    return tmp_path


def test_a_clean_checkout_has_a_commit_and_no_diff(checkout: Path) -> None:
    state = git_state(checkout / "package")
    assert state is not None
    assert len(state.commit) == 40
    assert (state.dirty, state.diff) == (False, "")
    assert code_record(state).git_diff_sha256 is None


def test_a_change_and_an_untracked_file_make_it_dirty(checkout: Path) -> None:
    (checkout / "package" / "code.py").write_text("x = 2\n")
    (checkout / "new.py").write_text("y = 1\n")
    state = git_state(checkout / "package")
    assert state is not None
    assert state.dirty
    assert "+x = 2" in state.diff
    assert f"untracked {hashlib.sha256(b'y = 1' + bytes([10])).hexdigest()} new.py" in state.diff
    record = code_record(state)
    assert record.git_diff_sha256 == hashlib.sha256(state.diff.encode()).hexdigest()
    assert record.git_dirty is True


def test_a_large_untracked_file_is_named_by_its_size(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surroundings, "_MOST_HASHED_BYTES", 5)
    (checkout / "weights.bin").write_bytes(bytes(6))
    (checkout / "link").symlink_to("weights.bin")
    state = git_state(checkout)
    assert state is not None
    assert state.diff.splitlines() == [
        f"untracked {'-' * 64} link",
        f"untracked {'6 bytes':-^64} weights.bin",
    ]


def test_outside_a_checkout_there_is_no_git_state(tmp_path: Path) -> None:
    assert git_state(tmp_path) is None
    assert code_record(None).git_commit is None


def test_a_package_inside_a_foreign_checkout_has_not_its_commit(checkout: Path) -> None:
    installed = checkout / "site-packages" / "tunix_exp"
    installed.mkdir(parents=True)
    (installed / "module.py").write_text("")
    assert git_state(installed) is None


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


def test_a_machine_without_nvidia_smi_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert nvidia_smi() == "nvidia-smi is not on this machine.\n"


@pytest.mark.parametrize(
    ("script", "says"),
    [("echo 'H200 | ok'", "H200 | ok\n"), ("echo no driver; exit 9", "ended with status 9:\nno driver\n")],
)
def test_nvidia_smi_is_told_verbatim(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str, says: str
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert nvidia_smi().endswith(says)


def test_kaggle_fields_come_from_the_environment_alone() -> None:
    assert set(kaggle_fields({}).model_dump().values()) == {None}
    found = kaggle_fields({"KAGGLE_NOTEBOOK_URL": "https://kaggle.com/x", "KAGGLE_RUN_ID": ""})
    assert found.kaggle_notebook_url == "https://kaggle.com/x"
    assert found.kaggle_run_id is None
