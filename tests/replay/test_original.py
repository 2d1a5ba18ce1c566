"""What may be repeated: one run, whole or interrupted, whose evidence holds."""

import pytest

from tests.running import run_toy
from tunix_exp.errors import UserError
from tunix_exp.replay.original import open_original


def test_a_folder_without_a_run_is_named(tmp_path):
    with pytest.raises(UserError, match="there is no run"):
        open_original(tmp_path)
    with pytest.raises(UserError, match="there is no run"):
        open_original(tmp_path / "absent")


def test_a_run_that_failed_has_nothing_to_compare_with(tmp_path):
    assert run_toy(tmp_path / "run", "model.weights=./nowhere") == 1
    with pytest.raises(UserError, match="the run failed: there are no numbers to compare with"):
        open_original(tmp_path / "run")


def test_a_preflight_has_nothing_to_compare_with(tmp_path):
    assert run_toy(tmp_path / "run", "mode=preflight") == 0
    with pytest.raises(UserError, match="the run was a preflight"):
        open_original(tmp_path / "run")


def test_a_run_that_is_under_way_or_was_killed_does_not_verify(tmp_path, monkeypatch):
    import tunix_exp.launch

    monkeypatch.setattr(tunix_exp.launch.checkout, "refuse_large", lambda patch: exit(9))
    assert run_toy(tmp_path / "run") == 9
    with pytest.raises(UserError, match="did not finish: its status is still `running`"):
        open_original(tmp_path / "run")
