"""The run that another is measured against: verified, and with answers to the same items."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tunix_exp.errors import UserError
from tunix_exp.evidence import layout
from tunix_exp.evidence.kinds import predictions
from tunix_exp.evidence.kinds.read import read_rows
from tunix_exp.evidence.pack import opened, refuse_other_contents
from tunix_exp.evidence.sections import BaselineRecord, ItemsEval
from tunix_exp.evidence.summary import Baseline
from tunix_exp.evidence.verified import VerifiedRun, verified_run
from tunix_exp.scoring.scorecard import Prediction, score
from tunix_exp.scoring.stop import answered

_KEY = "eval.baseline"
_MOST_NAMED = 3


def open_baseline(path: Path, *, tolerance_points: float) -> Baseline:
    """The run at `path`, a directory or an archive, which may be missed by `tolerance_points`.

    A `UserError` when it is not verified, or answered nothing.
    """
    with opened(path) as folder:
        refuse_other_contents(folder)
        return _answers(verified_run(folder), str(path), tolerance_points)


def _answers(run: VerifiedRun, path: str, tolerance_points: float) -> Baseline:
    is_trained = (run.root / predictions.TRAINED.path).exists()
    kind = predictions.TRAINED if is_trained else predictions.BASE
    items = run.manifest.eval
    is_answered = run.manifest.status == "completed" and (run.root / kind.path).exists()
    if not is_answered or not isinstance(items, ItemsEval):
        raise UserError(
            f"the baseline has no answers to compare with: it is a {run.manifest.status} run of mode "
            f"{run.manifest.mode}",
            where=f"{_KEY}={path}",
            remedy="name a completed run that answered the held-out items",
        )
    record = BaselineRecord(
        run_id=run.manifest.run_id,
        manifest_sha256=layout.file_digest(run.root / layout.MANIFEST),
        tolerance_points=tolerance_points,
        stop=items.stop,
    )
    return Baseline(record, tuple(_scored(one, items.stop or ()) for one in read_rows(kind, run.root)))


def _scored(one: Prediction, stop: tuple[str, ...]) -> Prediction:
    """The answer as this version scores it: an earlier one's extractor may have found another.

    What became of it, in classes, is not taken over: that run's own evidence has it.
    """
    extracted, correct = score(answered(one.output, stop), one.expected_answer)
    return replace(one, extracted_answer=extracted, correct=correct, question=None, classification=None)


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
        remedy="evaluate both on the same items (eval.source, eval.share, eval.max_items, eval.fields)",
    )
