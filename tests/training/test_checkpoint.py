"""A disk that is full: what the run says, and what of it is left to go on from."""

import errno

import pytest

from tests.running import read_json, run_toy
from tunix_exp.errors import UserError
from tunix_exp.evidence import run_directory
from tunix_exp.training.checkpoint import Checkpoints

FULL = "RESOURCE_EXHAUSTED: Failed to write 9 bytes to file 11: No space left on device [os_error_code='28']"


@pytest.fixture
def full_disk(monkeypatch):
    """Orbax's own error for a disk that is full, with the half of a checkpoint that it leaves."""

    def wait(self):
        (self._manager.directory / "2.orbax-checkpoint-tmp").mkdir()
        with self._writing():
            raise ValueError(FULL)

    monkeypatch.setattr(Checkpoints, "wait", wait)


def test_a_checkpoint_for_which_the_disk_has_no_room_is_refused_and_its_half_is_removed(tmp_path, full_disk):
    with (
        pytest.raises(UserError, match="a checkpoint cannot be written: No space left on device"),
        Checkpoints(tmp_path, keep=None) as checkpoints,
    ):
        checkpoints.wait()
    assert list(tmp_path.iterdir()) == []


def test_another_error_of_a_save_is_told_as_it_came(tmp_path):
    with (
        pytest.raises(ValueError, match="of another kind"),
        Checkpoints(tmp_path, keep=None) as checkpoints,
        checkpoints._writing(),
    ):
        raise ValueError("of another kind")


def test_a_run_on_a_full_disk_fails_in_words_although_its_end_cannot_be_recorded(
    tmp_path, full_disk, monkeypatch, capfd
):
    whole = run_directory.replace

    def replace(path, content):
        if path.name == "failure_analysis.md":
            raise OSError(errno.ENOSPC, "No space left on device")
        whole(path, content)

    monkeypatch.setattr(run_directory, "replace", replace)
    assert run_toy(tmp_path / "run") == 1
    assert read_json(tmp_path / "run" / "run_manifest.json")["status"] == "running"
    told = capfd.readouterr().err
    assert "Traceback" not in told
    assert "the end of the run cannot be recorded: No space left on device\n" in told
    assert f"once that is mended: python -m tunix_exp finish {tmp_path / 'run'}\n" in told
