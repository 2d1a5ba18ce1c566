import json
from pathlib import Path

import pytest

from tunix_exp.doctor import machine

GIB = 2**30


def answer(platform: str = "cpu", kinds: tuple[str, ...] = ("cpu",), total: float = 64**3) -> str:
    return "a warning of XLA\n" + json.dumps({"platform": platform, "kinds": kinds, "total": total}) + "\n"


def test_devices_are_counted_by_their_kind():
    found = machine.devices_said(0, answer("tpu", ("TPU v5 lite",) * 4), "", has_nvidia=False, has_tpu=True)
    assert (found.level, found.says) == ("ok", "JAX computes on tpu: 4 × TPU v5 lite")


@pytest.mark.parametrize(("has", "extra"), [("has_nvidia", "cuda"), ("has_tpu", "tpu")])
def test_a_device_that_jax_does_not_see_is_a_warning_with_its_extra(has, extra):
    flags = {"has_nvidia": False, "has_tpu": False} | {has: True}
    found = machine.devices_said(0, answer(), "", **flags)
    assert found.level == "warn"
    assert found.remedy is not None
    assert f"uv sync --extra {extra}" in found.remedy


@pytest.mark.parametrize(
    ("status", "out", "error", "says"),
    [
        (
            1,
            "",
            "Traceback\nRuntimeError: Unable to initialize backend",
            "does not start: RuntimeError: Unable",
        ),
        (-11, "", "", "does not start: it said nothing"),
        (0, answer(total=1.0), "", "computes wrong: 1.0"),
    ],
)
def test_a_jax_that_does_not_start_or_computes_wrong_fails(status, out, error, says):
    found = machine.devices_said(status, out, error, has_nvidia=False, has_tpu=False)
    assert found.level == "fail"
    assert says in found.says


def test_a_tpu_is_known_by_its_pci_ids(tmp_path):
    def device(name: str, vendor: str, kind: str) -> None:
        (tmp_path / name).mkdir()
        (tmp_path / name / "vendor").write_text(vendor + "\n")
        (tmp_path / name / "device").write_text(kind + "\n")

    device("network card", "0x1ae0", "0x0042")
    device("other", "0x10de", "0x0063")
    assert not machine.has_tpu(tmp_path)
    device("v5e", "0x1ae0", "0x0063")
    assert machine.has_tpu(tmp_path)


def test_the_tpu_compiler_is_asked_for_where_a_tpu_is(monkeypatch):
    monkeypatch.setattr(machine.topology, "why_not_compiled", lambda: "not installed")
    assert machine.tpu(has_tpu=False).level == "ok"
    assert machine.tpu(has_tpu=True).level == "warn"
    monkeypatch.setattr(machine.topology, "why_not_compiled", lambda: None)
    assert "the TPU compiler is installed" in machine.tpu(has_tpu=True).says


@pytest.mark.parametrize(("gib", "level"), [(0.5, "fail"), (2, "warn"), (8, "ok")])
def test_memory_is_graded_by_what_the_default_run_holds(gib, level):
    found = machine.memory(16 * GIB, int(gib * GIB))
    assert found.level == level
    assert (found.remedy is None) == (level == "ok")


@pytest.mark.parametrize(("gib", "level"), [(0.1, "fail"), (5, "warn"), (50, "ok")])
def test_disk_is_graded_by_what_checkpoints_take(gib, level):
    found = machine.disk(int(gib * GIB), Path("/x"))
    assert found.level == level
    assert (found.remedy is None) == (level == "ok")


def test_a_place_is_tried_and_one_that_is_not_there_is_not_made(tmp_path):
    (tmp_path / "file").write_text("in the way")
    found = list(
        machine.places({"runs": tmp_path / "a" / "b", "here": tmp_path, "in a file": tmp_path / "file"})
    )
    assert [one.level for one in found] == ["ok", "ok", "fail"]
    assert found[0].says == f"runs: {tmp_path / 'a' / 'b'}, not there yet"
    assert "Not a directory" in found[2].says
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


def test_the_compilation_cache_is_counted(tmp_path):
    (tmp_path / "jit_x-cache").write_bytes(bytes(2**21))
    (tmp_path / "jit_x-atime").write_bytes(b"")
    assert machine.compilation_cache(tmp_path).says == f"1 compiled programs, 2 MiB, at {tmp_path}"
    assert machine.compilation_cache(tmp_path / "none").says.startswith("0 compiled programs")
