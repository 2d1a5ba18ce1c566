import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tunix_exp.errors import UserError
from tunix_exp.evidence.baseline import open_baseline, refuse_other_items
from tunix_exp.evidence.layout import file_digest
from tunix_exp.evidence.pack import pack
from tunix_exp.evidence.run_directory import RunDirectory
from tunix_exp.evidence.verified import verified_run

ClaimRun = Callable[..., RunDirectory]
FillRun = Callable[..., None]


def test_a_baseline_gives_the_answers_of_the_model_that_it_ended_with(completed_run: Path) -> None:
    found = open_baseline(completed_run, tolerance_points=1.5)
    assert sum(one.correct for one in found.predictions) == 5
    assert found.record.run_id == "toy-1"
    assert found.record.manifest_sha256 == file_digest(completed_run / "run_manifest.json")
    assert found.record.tolerance_points == 1.5


def test_a_packed_baseline_gives_the_same(tmp_path: Path, completed_run: Path) -> None:
    packed = pack(verified_run(completed_run), tmp_path / "run.tar", inputs={}, readme=None).path
    unpacked = open_baseline(completed_run, tolerance_points=1.5)
    assert open_baseline(packed, tolerance_points=1.5) == unpacked
    with packed.open("r+b") as file:
        file.seek(packed.read_bytes().index(b"Answer: "))
        file.write(b"answer: ")
    with pytest.raises(UserError, match="the archive is not as it was packed"):
        open_baseline(packed, tolerance_points=1.5)


def test_a_baseline_that_trained_nothing_gives_the_base_model_s(
    tmp_path: Path, claim_run: ClaimRun, fill_run: FillRun
) -> None:
    run = claim_run(tmp_path / "run", mode="eval")
    fill_run(run, base=2)
    run.complete()
    assert sum(one.correct for one in open_baseline(run.root, tolerance_points=0.0).predictions) == 2


def test_a_baseline_that_was_tampered_with_is_refused(tmp_path: Path, completed_run: Path) -> None:
    run = Path(shutil.copytree(completed_run, tmp_path / "run"))
    (run / "README.md").write_text("# better\n")
    with pytest.raises(UserError, match="the run is not verified") as caught:
        open_baseline(run, tolerance_points=0.0)
    assert "README.md: differs from its hash" in caught.value.what


def test_a_baseline_that_failed_or_answered_nothing_is_refused(
    tmp_path: Path, claim_run: ClaimRun, fill_run: FillRun
) -> None:
    failed = claim_run(tmp_path / "failed")
    fill_run(failed)
    failed.fail("training", ValueError("no"), analysis="text")
    planned = claim_run(tmp_path / "planned", mode="preflight")
    planned.complete()
    for run, what in ((failed, "a failed run of mode full"), (planned, "a completed run of mode preflight")):
        with pytest.raises(UserError, match=f"the baseline has no answers to compare with: it is {what}"):
            open_baseline(run.root, tolerance_points=0.0)


def test_a_baseline_of_other_items_is_refused(completed_run: Path) -> None:
    found = open_baseline(completed_run, tolerance_points=0.0)
    items = [(one.id, one.expected_answer) for one in found.predictions]
    refuse_other_items(found, items)
    with pytest.raises(UserError, match="6 there, 5 here, 1 that are not alike, such as item-5"):
        refuse_other_items(found, items[:-1])
    with pytest.raises(UserError, match="6 there, 6 here, 1 that are not alike, such as item-0"):
        refuse_other_items(found, [("item-0", "7"), *items[1:]])
    with pytest.raises(UserError, match="0 that are not alike: their order differs"):
        refuse_other_items(found, items[::-1])
