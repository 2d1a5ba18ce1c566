"""The run that another is measured against: verified, and with answers to the same items."""

from collections.abc import Sequence
from pathlib import Path

from tunix_exp.errors import UserError
from tunix_exp.evidence import layout
from tunix_exp.evidence.manifest import BaselineRecord, ItemsEval
from tunix_exp.evidence.pack import opened, refuse_other_contents
from tunix_exp.evidence.strict_json import read_jsonl
from tunix_exp.evidence.summary import Baseline
from tunix_exp.evidence.verified import VerifiedRun, verified_run
from tunix_exp.scoring.scorecard import Prediction

_KEY = "eval.baseline"
_MOST_NAMED = 3


def open_baseline(path: Path, *, tolerance_points: float) -> Baseline:
    """The run at `path`, a directory or an archive, which may be missed by `tolerance_points`.

    A `UserError` when it does not hold, or answered nothing.
    """
    with opened(path) as folder:
        refuse_other_contents(folder)
        return _answers(verified_run(folder), str(path), tolerance_points)


def _answers(run: VerifiedRun, path: str, tolerance_points: float) -> Baseline:
    trained, base = layout.TRAINED_PREDICTIONS, layout.BASE_PREDICTIONS
    name = trained if (run.root / trained).exists() else base
    items = run.manifest.eval
    is_answered = run.manifest.status == "completed" and (run.root / name).exists()
    if not is_answered or not isinstance(items, ItemsEval):
        raise UserError(
            f"the baseline has no answers to compare with: it is a {run.manifest.status} run of mode "
            f"{run.manifest.mode}",
            where=f"{_KEY}={path}",
            remedy="name a completed run that answered the held-out items",
        )
    rows = read_jsonl(run.root / name, file=name)
    record = BaselineRecord(
        run_id=run.manifest.run_id,
        manifest_sha256=layout.file_digest(run.root / layout.MANIFEST),
        tolerance_points=tolerance_points,
        stop=items.stop,
    )
    answers = (Prediction.from_dict(row, where=f"{name}, line {n}") for n, row in enumerate(rows, start=1))
    return Baseline(record, tuple(answers))


def refuse_other_items(baseline: Baseline, items: Sequence[tuple[str, str]]) -> None:
    """The baseline answered `items`, pairs of id and expected answer, in their order; else a `UserError`."""
    theirs = [(one.id, one.expected_answer) for one in baseline.predictions]
    ours = list(items)
    if theirs == ours:
        return
    other = sorted({name for name, _ in set(theirs) ^ set(ours)})
    named = f", such as {', '.join(other[:_MOST_NAMED])}" if other else ": their order differs"
    raise UserError(
        f"the baseline {baseline.record.run_id} answered other items: {len(theirs)} there, {len(ours)} here, "
        f"{len(other)} that are not alike{named}",
        where=_KEY,
        remedy="evaluate both on the same items (eval.source, eval.max_items, eval.fields)",
    )
