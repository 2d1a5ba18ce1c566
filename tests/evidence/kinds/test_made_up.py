"""A kind of evidence is one module: with `made_up` in the registry, everything that reads a run knows it."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.evidence.kinds.made_up import KIND
from tests.resealing import reseal
from tunix_exp.errors import UserError
from tunix_exp.evidence.kinds import registry
from tunix_exp.evidence.likeness import compare
from tunix_exp.evidence.run_directory import RunDirectory
from tunix_exp.evidence.verify import inspect, verify
from tunix_exp.objectives import registry as objectives
from tunix_exp.report.readme import readme

Claim = Callable[..., RunDirectory]
Fill = Callable[..., None]
EPOCHS = [{"step": 10, "rows": 12, "rows_in_all": 12}, {"step": 20, "rows": 0, "rows_in_all": 12}]


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "KINDS", (*registry.KINDS, KIND))


@pytest.fixture
def run(tmp_path: Path, claim_run: Claim, fill_run: Fill) -> Path:
    made = claim_run(tmp_path / "run")
    fill_run(made)
    for row in EPOCHS:
        made.append(KIND, row)
    made.complete()
    return made.root


def rewrite(run: Path, change: Callable[[list[dict[str, Any]]], object]) -> None:
    rows = [json.loads(line) for line in (run / KIND.path).read_text().splitlines()]
    change(rows)
    (run / KIND.path).write_text("".join(json.dumps(row) + "\n" for row in rows))


def says(run: Path) -> list[tuple[str, str]]:
    return [(one.file, one.what) for one in verify(run)]


def test_a_run_that_has_it_completes_with_its_finding_and_verifies(run):
    seen = inspect(run)
    assert seen.disagreements == []
    assert seen.manifest is not None
    assert [(one.code, one.where) for one in seen.findings] == [("idle epoch", "epochs.jsonl, step 20")]
    assert seen.manifest.findings == seen.findings


def test_a_run_without_it_does_not_complete(tmp_path, claim_run, fill_run):
    made = claim_run(tmp_path / "run")
    fill_run(made)
    with pytest.raises(UserError, match=r"epochs.jsonl: is missing in a completed run of mode full"):
        made.complete()


def test_it_cannot_come_from_a_run_that_trains_nothing(tmp_path, claim_run, fill_run):
    made = claim_run(tmp_path / "run", mode="eval")
    fill_run(made)
    made.write(KIND, EPOCHS)
    with pytest.raises(UserError, match=r"epochs.jsonl: cannot come from a completed run of this mode"):
        made.complete()


def test_missing_altered_and_forged_it_is_named(run, tmp_path):
    text = (run / KIND.path).read_text()
    (run / KIND.path).write_text(text.replace("12", "13"))
    assert KIND.path in {file for file, what in says(run) if what.startswith("differs from its hash")}
    reseal(run)
    found = says(run)
    assert ("tensorboard/", "the curve `epochs/rows` differs from epochs.jsonl") in found
    (run / KIND.path).write_text(text)
    rewrite(run, lambda rows: rows[1].update(rows_in_all=99))
    reseal(run)
    assert (KIND.path, "step 20: `rows_in_all` is 99, the epochs give 12") in says(run)
    rewrite(run, lambda rows: rows[1].update(step=10))
    reseal(run)
    assert (KIND.path, "line 2: step 10 follows step 10") in says(run)
    rewrite(run, lambda rows: rows[0].pop("rows"))
    reseal(run)
    assert (KIND.path, "line 1: has no `rows`") in says(run)
    (run / KIND.path).unlink()
    reseal(run)
    assert (KIND.path, "is missing in a completed run of mode full") in says(run)


def test_a_finding_that_is_taken_out_is_named(run):
    reseal(run, lambda manifest: manifest.update(findings=[]))
    assert says(run) == [("run_manifest.json", "`findings` lacks one: epochs.jsonl, step 20: it drew no row")]


def test_a_line_that_breaks_its_schema_is_refused_when_it_is_written(tmp_path, claim_run):
    made = claim_run(tmp_path / "run")
    with pytest.raises(UserError, match="`rows` is 'many'"):
        made.append(KIND, {"step": 1, "rows": "many", "rows_in_all": 1})


def test_page_and_replay_know_it(run, tmp_path):
    assert "| `epochs.jsonl` | the rows that each epoch drew |" in readme(run)
    other = Path(shutil.copytree(run, tmp_path / "other"))
    assert "rows of an epoch" in {part.name for part in compare(run, other, steps=None).series}
    rewrite(other, lambda rows: rows[0].update(rows=11))
    assert compare(run, other, steps=None).describe()[0].startswith("rows of an epoch: 1 of 2 steps differ")


def test_an_objective_brings_its_own_kinds(monkeypatch):
    monkeypatch.undo()
    monkeypatch.setitem(objectives.PACKAGES, "made_up", "objective_of_a_test")
    monkeypatch.setitem(sys.modules, "objective_of_a_test.evidence", SimpleNamespace(KINDS=(KIND,)))
    assert registry.kinds_of({"objective": {"name": "made_up"}}) == (*registry.KINDS, KIND)
    assert registry.kinds_of({"objective": {"name": "another"}}) == registry.KINDS
    assert registry.kinds_of({}) == registry.KINDS
