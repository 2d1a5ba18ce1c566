"""A stranger's evidence has nothing written, read or run on this machine without the user's word."""

import copy
import io
import json
import tarfile
from pathlib import Path

import pytest

from tests.running import read_json, run_toy
from tunix_exp import cli
from tunix_exp.errors import UserError
from tunix_exp.evidence import pack
from tunix_exp.evidence.verified import VerifiedRun, verified_run
from tunix_exp.replay import again
from tunix_exp.replay.consent import drop_cache, refuse_unasked


@pytest.fixture(scope="module")
def toy(tmp_path_factory) -> VerifiedRun:
    folder = tmp_path_factory.mktemp("runs") / "toy"
    assert run_toy(folder) == 0
    return verified_run(folder)


def asking(toy: VerifiedRun, key: str, value: object) -> VerifiedRun:
    """The run, had it been made with another value under the key."""
    plain = copy.deepcopy(toy.config)
    section, leaf = key.split(".")
    plain[section][leaf] = value
    return VerifiedRun(toy.root, toy.manifest, plain)


def replayed(monkeypatch, run: VerifiedRun, target: Path, *words: str) -> int:
    monkeypatch.setattr(again, "open_original", lambda folder: run)
    return cli.main(["replay", str(run.root), "--to", str(target), "--steps", "1", *words])


@pytest.mark.parametrize(
    "flags",
    [
        ["--xla_dump_to=/tmp/out"],
        ["--xla_cpu_max_isa=AVX2 --xla_dump_to=out"],
        ["--xla_cpu_max_isa=AVX2\n--xla_dump_to=out"],
        ["--xla_gpu_load_autotune_results_from=x"],
        ["--xla_gpu_cuda_data_dir=."],
        ["--xla_cpu_max_isa=../../x"],
        ["--xla_cpu_max_isa='AVX2"],
        ["flags.txt"],
        ["-xla_cpu_max_isa=AVX2"],
        ["--xla_hlo_profile"],
    ],
)
def test_flags_that_may_write_or_read_need_the_users_word(toy, tmp_path, monkeypatch, capsys, flags):
    run = asking(toy, "device.xla_flags", flags)
    before = sorted(tmp_path.rglob("*"))
    assert replayed(monkeypatch, run, tmp_path / "again") == 2
    told = capsys.readouterr().err
    assert f"the run asks XLA for what may write, read or load files: {flags[0].split()[-1]}" in told
    assert "device.xla_flags" in told
    assert "--allow-flags" in told
    assert sorted(tmp_path.rglob("*")) == before
    refuse_unasked(run, run.config, told=(), flags=True, paths=False)


@pytest.mark.parametrize("flag", ["--xla_cpu_max_isa=AVX2", "--xla_gpu_deterministic_ops=true"])
def test_flags_of_how_numbers_are_computed_a_run_may_choose(toy, flag):
    run = asking(toy, "device.xla_flags", [flag, "--xla_force_host_platform_device_count=2"])
    refuse_unasked(run, run.config, told=(), flags=False, paths=False)


def test_where_programs_are_kept_a_run_does_not_choose(toy, tmp_path, monkeypatch):
    run = asking(toy, "device.compilation_cache", str(tmp_path / "cache"))
    assert replayed(monkeypatch, run, tmp_path / "again") == 0
    assert not (tmp_path / "cache").exists()
    changed = read_json(tmp_path / "again" / "replay.json")["config_changed"]
    assert changed["device.compilation_cache"] == [str(tmp_path / "cache"), None]
    plain = copy.deepcopy(run.config)
    drop_cache(plain, paths=True)
    assert plain == run.config


def test_task_files_and_weights_without_a_hash_are_read_from_no_place_of_the_runs_choice(toy, tmp_path):
    harness = copy.deepcopy(toy.config)
    harness["eval"] = {"include_path": str(tmp_path)}
    for run, key in (
        (VerifiedRun(toy.root, toy.manifest, harness), "eval.include_path"),
        (asking(toy, "model.weights", str(tmp_path)), "model.weights"),
    ):
        with pytest.raises(UserError, match=f"nothing vouches for: {key}={tmp_path}"):
            refuse_unasked(run, run.config, told=(), flags=False, paths=False)
        refuse_unasked(run, run.config, told=(key,), flags=False, paths=False)
        refuse_unasked(run, run.config, told=(), flags=False, paths=True)


def test_weights_whose_files_lie_outside_the_folder_are_not_vouched_for(toy, tmp_path):
    for name in ("../x.safetensors", "/etc/hostname", "a/../../x"):
        model = toy.manifest.model.model_copy(update={"files": {name: "a" * 64}})  # pyright: ignore
        run = asking(toy, "model.weights", str(tmp_path))
        run = VerifiedRun(run.root, toy.manifest.model_copy(update={"model": model}), run.config)
        with pytest.raises(UserError, match="nothing vouches for: model"):
            refuse_unasked(run, run.config, told=(), flags=False, paths=False)


def test_a_name_that_leads_elsewhere_chooses_no_place(toy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    manifest = toy.manifest.model_copy(update={"name": "../../elsewhere"})
    run = VerifiedRun(toy.root, manifest, toy.config)
    monkeypatch.setattr(again, "open_original", lambda folder: run)
    assert cli.main(["replay", str(toy.root), "--steps", "1"]) == 0
    assert [path.name for path in (tmp_path / "outputs").iterdir()] == [f"{toy.config['name']}-replay"]


@pytest.mark.parametrize(
    ("key", "place"),
    [
        ("eval.include_path", "inputs/eval.include_path/tasks"),
        ("data.source", "../outside.jsonl"),
        ("data.source", "/etc/hostname"),
        ("data.source", "inputs/data.source/../../../outside.jsonl"),
        ("data.source", "run/config.json"),
    ],
)
def test_an_archive_s_listing_leads_to_its_own_inputs_alone(toy, tmp_path, capsys, key, place):
    archive = tmp_path / "a.tar"
    assert cli.main(["pack", str(toy.root), "--out", str(archive)]) == 0
    folder = pack.unpack(archive, tmp_path)
    listing = read_json(folder / "PACK.json")
    listing["inputs"] = {key: place}
    (folder / "PACK.json").write_text(json.dumps(listing))
    with pytest.raises(UserError, match="where no input is packed"):
        pack.packed_inputs(folder / "run")


def test_an_archive_holds_plain_files_of_a_size(tmp_path):
    def member(kind: bytes, **fields: object) -> tarfile.TarInfo:
        made = tarfile.TarInfo("a/x")
        made.type = kind
        for name, value in fields.items():
            setattr(made, name, value)
        return made

    for one in (
        member(tarfile.SYMTYPE, linkname="/etc/passwd"),
        member(tarfile.LNKTYPE, linkname="/etc/passwd"),
        member(tarfile.CHRTYPE),
        member(tarfile.FIFOTYPE),
        member(tarfile.REGTYPE, name="../x"),
        member(tarfile.REGTYPE, name="/x"),
        member(tarfile.REGTYPE, name="a/../../x"),
    ):
        archive = tmp_path / "odd.tar"
        with tarfile.open(archive, "w") as tar:
            tar.addfile(one, io.BytesIO())
        (tmp_path / "out").mkdir(exist_ok=True)
        with pytest.raises(UserError, match="no file that a packed run holds"):
            pack.unpack(archive, tmp_path / "out")
        assert list((tmp_path / "out").iterdir()) == []
