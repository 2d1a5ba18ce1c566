from pathlib import Path

from tunix_exp.evidence.layout import file_hashes, files_of, has_file


def test_every_file_but_the_manifest_is_hashed_by_its_raw_bytes(tmp_path: Path) -> None:
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".hydra" / "config.yaml").write_bytes(b"a\r\n")
    (tmp_path / "run_manifest.json").write_text("{}")
    (tmp_path / "b.txt").write_bytes(b"")
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "run_manifest.json").write_text("{}")  # not the run's own
    assert files_of(tmp_path) == [".hydra/config.yaml", "b.txt", "export/run_manifest.json"]
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert file_hashes(tmp_path)["b.txt"] == empty
    crlf = "8e4621379786ef42a4fec155cd525c291dd7db3c1fde3478522f4f61c03fd1bd"
    assert file_hashes(tmp_path)[".hydra/config.yaml"] == crlf


def test_a_folder_is_there_when_something_lies_in_it() -> None:
    assert has_file("checkpoints/", {"checkpoints/1/x"})
    assert not has_file("checkpoints/", {"checkpoints.txt"})
    assert not has_file("plan.json", {"old/plan.json"})
