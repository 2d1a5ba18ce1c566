"""A run directory, read once: everything that a page may show of it."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tunix_exp.errors import UserError
from tunix_exp.evidence import layout
from tunix_exp.evidence.kinds import (
    composed,
    config,
    eval_summary,
    harness,
    heldout,
    metrics,
    plan,
    predictions,
)
from tunix_exp.evidence.kinds.read import object_if_any, plain_lines, read_object, read_rows
from tunix_exp.evidence.manifest import RunManifest, read_manifest
from tunix_exp.evidence.strict_json import read_json_object, read_text
from tunix_exp.scoring.scorecard import Prediction

Plain = dict[str, Any]


@dataclass(frozen=True)
class Record:
    """The files of one run; what it has not written is `None` or empty."""

    root: Path
    manifest: RunManifest
    config: Plain
    defaults: Plain | None
    overrides: tuple[str, ...]
    metrics: list[Plain]
    heldout: dict[int, float]
    summary: Plain | None
    harness: Plain | None
    plan: Plain | None

    @cached_property
    def base(self) -> list[Prediction]:
        """The base model's answers; a `UserError` says what is broken."""
        return read_rows(predictions.BASE, self.root)

    @cached_property
    def trained(self) -> list[Prediction]:
        """The trained model's."""
        return read_rows(predictions.TRAINED, self.root)

    @property
    def result(self) -> Plain | None:
        """The summary of what was scored, held-out items or the harness's tasks."""
        return self.summary if self.harness is None else self.harness

    @property
    def comparison(self) -> Plain | None:
        """Base against trained model, on items or on the harness's tasks; `None` where there is none."""
        return None if self.result is None else self.result["comparison"]

    def text(self, name: str) -> str | None:
        """The text of a file of the run, or `None` where it has none of that name."""
        path = self.root / name
        return read_text(path, file=name) if path.is_file() else None


def read_record(root: Path) -> Record:
    """The run at `root`; a `UserError` says when no run lies there, or a file of it is broken."""
    if not (root / layout.MANIFEST).is_file():
        raise UserError(
            "there is no run directory",
            where=str(root),
            remedy="name a directory with a run_manifest.json, such as outputs/NAME/DATE",
        )
    steps, summary = plain_lines(metrics.KIND, root), object_if_any(eval_summary.KIND, root)
    defaults = root / composed.DEFAULTS
    return Record(
        root=root,
        manifest=read_manifest(root),
        config=read_object(config.KIND, root),
        defaults=read_json_object(defaults, file=composed.DEFAULTS) if defaults.is_file() else None,
        overrides=composed.overrides_of(root),
        metrics=steps,
        heldout=_heldout(steps, plain_lines(heldout.KIND, root), summary) if steps else {},
        summary=summary,
        harness=object_if_any(harness.SUMMARY, root),
        plan=object_if_any(plan.KIND, root),
    )


def _heldout(steps: list[Plain], lines: list[Plain], summary: Plain | None) -> dict[int, float]:
    """The held-out losses by step: the base model's is that of step 0, the trained one's of the last."""
    losses: dict[int, float] = {row["step"]: row["loss_nats"] for row in lines}
    for step, model in ((0, "base"), (steps[-1]["step"], "trained")):
        if summary is not None and summary[model] is not None:
            losses[step] = summary[model]["heldout_loss_nats"]
    return dict(sorted(losses.items()))
