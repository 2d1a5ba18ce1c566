import gzip
import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tunix_exp.errors import UserError
from tunix_exp.evidence import unpack
from tunix_exp.evidence.layout import file_digest, files_of
from tunix_exp.evidence.pack import inspect_pack, is_pack, pack, packed_inputs
from tunix_exp.evidence.verified import verified_run

TOP = "toy-toy-1"


@pytest.fixture
def archive(completed_run: Path, tmp_path: Path) -> Path:
    return pack(verified_run(completed_run), tmp_path / "a.tar.gz", inputs={}, readme="# Toy\n").path


def said(archive: Path) -> list[str]:
    return [f"{one.file}: {one.what}" for one in inspect_pack(archive).disagreements]


def test_the_same_run_gives_the_same_bytes_wherever_and_whenever_it_lies(
    completed_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = Path(shutil.copytree(completed_run, tmp_path / "elsewhere" / "moved"))
    for path in elsewhere.rglob("*"):
        path.chmod(0o700)
        os.utime(path, (1, 1))
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    for name in ("a.tar.gz", "a.tar"):
        first = pack(verified_run(completed_run), tmp_path / "one" / name, inputs={}, readme=None)
        second = pack(verified_run(elsewhere), tmp_path / "two" / name, inputs={}, readme=None)
        assert first.path.read_bytes() == second.path.read_bytes()
        assert first.sha256 == second.sha256 == file_digest(first.path)
    assert gzip.decompress((tmp_path / "one" / "a.tar.gz").read_bytes()) == second.path.read_bytes()


def test_the_archive_holds_the_run_its_page_and_a_listing_of_every_hash(
    archive: Path, completed_run: Path
) -> None:
    with tarfile.open(archive) as tar:
        members = tar.getmembers()
        listing = json.load(tar.extractfile(f"{TOP}/PACK.json") or io.BytesIO())
    names = [member.name.removeprefix(f"{TOP}/") for member in members]
    run_files = [f"run/{name}" for name in [*files_of(completed_run), "run_manifest.json", "SHA256SUMS"]]
    assert sorted(names) == names == sorted(["PACK.json", "README.md", *run_files])
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in members} == {(0, 0, 0, "", "", 0o644)}
    assert listing["files"].keys() == set(names) - {"PACK.json"}
    assert listing["files"]["run/metrics.jsonl"] == file_digest(completed_run / "metrics.jsonl")
    assert (listing["run_id"], listing["status"]) == ("toy-1", "completed")
    assert listing["code"]["version"] == "0.1.0"


def test_an_archive_verifies_packed_and_unpacked(archive: Path, tmp_path: Path) -> None:
    assert is_pack(archive)
    assert said(archive) == []
    shutil.unpack_archive(archive, tmp_path / "out", filter="data")
    assert is_pack(tmp_path / "out" / TOP)
    assert said(tmp_path / "out" / TOP) == []


@pytest.mark.parametrize(
    ("alter", "says"),
    [
        (
            lambda top: (top / "run/example.txt").write_text("other\n"),
            "run/example.txt: differs from its hash in",
        ),
        (
            lambda top: (top / "README.md").write_text("# Better\n"),
            "README.md: differs from its hash in PACK.json",
        ),
        (lambda top: (top / "notes.txt").write_text("x\n"), "notes.txt: is not in PACK.json"),
        (
            lambda top: (top / "run/metrics.jsonl").unlink(),
            "run/metrics.jsonl: is missing: PACK.json has its hash",
        ),
        (lambda top: (top / "PACK.json").write_text("{}"), "PACK.json: PACK.json is missing or does not say"),
        (lambda top: shutil.rmtree(top / "run"), "run: is missing: there is no run in the archive"),
    ],
)
def test_whatever_is_altered_in_an_archive_is_named(
    archive: Path, tmp_path: Path, alter: Callable[[Path], object], says: str
) -> None:
    shutil.unpack_archive(archive, tmp_path / "out", filter="data")
    alter(tmp_path / "out" / TOP)
    altered = shutil.make_archive(str(tmp_path / "altered"), "gztar", tmp_path / "out", TOP)
    # made by another hand, it holds folders as members too
    with tarfile.open(altered) as tar, tarfile.open(tmp_path / "plain.tar", "w") as plain:
        for member in tar:
            if member.isreg():
                plain.addfile(member, tar.extractfile(member))
    assert any(one.startswith(says) for one in said(tmp_path / "plain.tar"))
    assert any(one.startswith(says) for one in said(tmp_path / "out" / TOP))


def crafted(path: Path, *members: tuple[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, kind in members:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            tar.addfile(member, io.BytesIO())
    return path


@pytest.mark.parametrize(
    "members",
    [
        [("../outside", tarfile.REGTYPE)],
        [("top/../../outside", tarfile.REGTYPE)],
        [("/tmp/outside", tarfile.REGTYPE)],
        [("top\\..\\outside/x", tarfile.REGTYPE)],
        [("outside", tarfile.REGTYPE)],
        [("top/link", tarfile.SYMTYPE)],
        [("top/link", tarfile.LNKTYPE)],
        [("top/device", tarfile.CHRTYPE)],
        [("top/twice", tarfile.REGTYPE), ("top/twice", tarfile.REGTYPE)],
    ],
)
def test_a_member_that_leads_outside_or_is_no_file_is_refused(
    tmp_path: Path, members: list[tuple[str, bytes]]
) -> None:
    with pytest.raises(UserError, match="is no file that a packed run holds"):
        inspect_pack(crafted(tmp_path / "a.tar", *members))
    assert not (tmp_path / "outside").exists()


def test_two_folders_a_text_and_a_cut_archive_are_refused(archive: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds 2 folders"):
        inspect_pack(crafted(tmp_path / "a.tar", ("a/x", tarfile.REGTYPE), ("b/x", tarfile.REGTYPE)))
    (tmp_path / "text.tar.gz").write_text("no archive")
    with pytest.raises(UserError, match="the archive cannot be read"):
        inspect_pack(tmp_path / "text.tar.gz")
    (tmp_path / "cut.tar.gz").write_bytes(archive.read_bytes()[:-2000])
    with pytest.raises(UserError, match="the archive cannot be read"):
        inspect_pack(tmp_path / "cut.tar.gz")


def test_an_archive_larger_than_the_disk_is_refused(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpack.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 5, 5))
    with pytest.raises(UserError, match="there is no room to unpack it"):
        inspect_pack(archive)


def test_inputs_are_packed_under_their_keys_and_found_beside_the_run(
    completed_run: Path, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "rows.jsonl").write_text(f"{name}\n")
    inputs = {"data.source": tmp_path / "a/rows.jsonl", "eval.source": tmp_path / "b/rows.jsonl"}
    made = pack(verified_run(completed_run), tmp_path / "a.tar", inputs=inputs, readme=None)
    assert said(made.path) == []
    shutil.unpack_archive(made.path, tmp_path / "out", filter="data")
    found = packed_inputs(tmp_path / "out" / TOP / "run")
    assert {key: path.read_text() for key, path in found.items()} == {
        "data.source": "a\n",
        "eval.source": "b\n",
    }
    assert packed_inputs(completed_run) == {}


def test_an_archive_is_not_written_over_unless_it_is_the_same(completed_run: Path, tmp_path: Path) -> None:
    run = verified_run(completed_run)
    made = pack(run, tmp_path / "a.tar.gz", inputs={}, readme=None)
    assert pack(run, tmp_path / "a.tar.gz", inputs={}, readme=None) == made
    with pytest.raises(UserError, match="there is another file already"):
        pack(run, tmp_path / "a.tar.gz", inputs={}, readme="# Other\n")
    assert file_digest(tmp_path / "a.tar.gz") == made.sha256
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar.gz"]
    with pytest.raises(UserError, match=r"neither \.tar\.gz nor \.tar"):
        pack(run, tmp_path / "a.zip", inputs={}, readme=None)


def test_an_archive_is_not_written_into_the_run_itself(completed_run: Path) -> None:
    with pytest.raises(UserError, match="lies in the run, which would not verify any more"):
        pack(verified_run(completed_run), completed_run / "a.tar", inputs={}, readme=None)
    assert not (completed_run / "a.tar").exists()


def test_its_name_is_the_run_s_own(
    completed_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert pack(verified_run(completed_run), None, inputs={}, readme=None).path == Path(f"{TOP}.tar.gz")
