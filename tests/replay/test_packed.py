"""A run packed, carried elsewhere, unpacked: it verifies, and runs again without the place it came from."""

import json
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

import tunix_exp.launch
from tests.running import bits, read_json, run_toy
from tunix_exp import cli
from tunix_exp.evidence.layout import file_digest
from tunix_exp.report.result import sentences

FIELDS = ("data.fields.category=null", "data.fields.difficulty=null", "data.fields.id=null")


@pytest.fixture(scope="module")
def toy(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "toy"
    assert run_toy(folder) == 0
    return folder


def packed(run: Path, out: Path, *words: str) -> Path:
    assert cli.main(["pack", str(run), "--out", str(out), *words]) == 0
    return out


def test_a_packed_run_verifies_and_replays_where_it_is_unpacked(toy, tmp_path, monkeypatch, capsys):
    first = packed(toy, tmp_path / "a.tar.gz", "--kaggle")
    second = packed(toy, tmp_path / "b.tar.gz", "--kaggle")
    assert file_digest(first) == file_digest(second)
    assert file_digest(first) in capsys.readouterr().out
    assert cli.main(["verify", str(first)]) == 0
    away = Path(shutil.move(toy, tmp_path / "away"))
    try:
        (tmp_path / "empty").mkdir()
        monkeypatch.chdir(tmp_path / "empty")
        shutil.unpack_archive(first, ".", filter="data")
        (folder,) = Path().iterdir()
        assert cli.main(["verify", folder.name]) == 0
        assert f"{folder.name}: verified" in capsys.readouterr().out
        assert cli.main(["replay", folder.name, "--to", "again"]) == 0
        assert bits(Path("again")) == bits(folder / "run")
        # without being unpacked by hand
        assert cli.main(["replay", str(first), "--to", "more", "--steps", "2"]) == 0
    finally:
        shutil.move(away, toy)


def test_a_submission_says_what_was_run_and_where(toy, tmp_path):
    archive = packed(toy, tmp_path / "a.tar", "--kaggle")
    with tarfile.open(archive) as tar:
        (name,) = [name for name in tar.getnames() if name.endswith("/README.md") and "/run/" not in name]
        page = (tar.extractfile(name) or tar).read().decode()  # type: ignore[union-attr]
    manifest, summary = read_json(toy / "run_manifest.json"), read_json(toy / "eval_summary.json")
    for said in (
        f"**{sentences(summary)[0]}**",
        "- kaggle_notebook_url: not recorded",
        f"- run_id: {manifest['run_id']}",
        "- model_id: nano-gpt2, `random`, 7,392 parameters",
        f"- dataset: nano-reasoning, `bundled:nano-reasoning`, 60 rows, sha256 {manifest['data']['sha256']}",
        f"- primary_score, trained: {summary['trained']['primary_score']} (n_items 5, n_scored 5, n_skip",
        "python -m tunix_exp replay FOLDER",
    ):
        assert said in page


def test_what_a_submission_cannot_be_made_of(tmp_path, capsys):
    assert run_toy(tmp_path / "run", "mode=eval") == 0
    assert cli.main(["pack", str(tmp_path / "run"), "--kaggle", "--out", str(tmp_path / "a.tar")]) == 2
    assert "a submission needs a completed run" in capsys.readouterr().err
    assert not (tmp_path / "a.tar").exists()
    packed(tmp_path / "run", tmp_path / "a.tar")


def test_what_does_not_verify_is_not_packed(toy, tmp_path, capsys):
    copy = Path(shutil.copytree(toy, tmp_path / "copy"))
    (copy / "example.txt").write_text("other\n")
    assert cli.main(["pack", str(copy), "--out", str(tmp_path / "a.tar.gz")]) == 2
    assert "example.txt: differs from its hash" in capsys.readouterr().err
    assert not (tmp_path / "a.tar.gz").exists()


def test_an_archive_that_was_altered_is_not_replayed(toy, tmp_path, capsys):
    shutil.unpack_archive(packed(toy, tmp_path / "a.tar"), tmp_path, filter="data")
    (folder,) = [path for path in tmp_path.iterdir() if path.is_dir()]
    (folder / "inputs").mkdir()
    (folder / "inputs" / "more.jsonl").write_text("x\n")
    assert cli.main(["verify", str(folder)]) == 1
    assert "inputs/more.jsonl: is not in PACK.json" in capsys.readouterr().out
    assert cli.main(["replay", str(folder), "--to", str(tmp_path / "again")]) == 2
    assert "inputs/more.jsonl: is not in PACK.json" in capsys.readouterr().err


def test_own_data_is_packed_when_asked_for_and_else_named_as_lacking(tmp_path, capsys):
    rows = [{"question": f"Add {i} and 1", "steps": [f"{i}+1"], "answer": str(i + 1)} for i in range(12)]
    file = tmp_path / "train.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run_toy(tmp_path / "run", f"data.source={file}", *FIELDS) == 0
    capsys.readouterr()
    without = packed(tmp_path / "run", tmp_path / "without.tar")
    assert f"not in it: data.source={file}" in capsys.readouterr().out
    within = packed(tmp_path / "run", tmp_path / "within.tar", "--inputs")
    assert "not in it" not in capsys.readouterr().out
    file.rename(tmp_path / "kept.jsonl")
    assert cli.main(["replay", str(without), "--to", str(tmp_path / "again"), "--steps", "1"]) == 2
    said = capsys.readouterr().err
    assert f"nothing vouches for: data.source={file}" in said
    assert "say where each lies now: data.source=PATH" in said
    assert cli.main(["replay", str(within), "--to", str(tmp_path / "again"), "--steps", "1"]) == 0
    assert cli.main(["pack", str(tmp_path / "run"), "--inputs", "--out", str(tmp_path / "x.tar")]) == 2


def test_the_archive_of_a_dirty_checkout_has_the_patch_that_makes_it(tmp_path, monkeypatch):
    def git(*words: str, at: Path) -> None:
        who = ("-c", "user.name=A", "-c", "user.email=a@example.org")
        subprocess.run(["git", *who, "-C", str(at), *words], check=True, capture_output=True)

    clone = tmp_path / "clone"
    package = clone / "src" / "tunix_exp"
    package.mkdir(parents=True)
    (package / "loss.py").write_text("scale = 1\n")
    (clone / "uv.lock").write_text("version = 1\n")
    for words in (("init", "-q"), ("add", "."), ("commit", "-q", "-m", "first")):
        git(*words, at=clone)
    (package / "loss.py").write_text("scale = 2\n")
    (package / "new.py").write_text("found = True\n")
    monkeypatch.setattr(tunix_exp.launch, "__file__", str(package / "launch.py"))
    assert run_toy(tmp_path / "run", "mode=smoke") == 0
    archive = packed(tmp_path / "run", tmp_path / "a.tar.gz")

    shutil.unpack_archive(archive, tmp_path / "out", filter="data")
    (folder,) = (tmp_path / "out").iterdir()
    listing = read_json(folder / "PACK.json")
    assert listing["code"]["git_dirty"] is True
    assert (listing["patch"], listing["lock"]) == ("run/source.patch", "run/uv.lock")
    assert (folder / listing["lock"]).read_text() == "version = 1\n"
    git("clone", "-q", str(clone), "again", at=tmp_path)
    git("checkout", "-q", listing["code"]["git_commit"], at=tmp_path / "again")
    git("apply", "--allow-empty", str(folder / listing["patch"]), at=tmp_path / "again")
    for name in ("loss.py", "new.py"):
        assert (tmp_path / "again/src/tunix_exp" / name).read_text() == (package / name).read_text()
