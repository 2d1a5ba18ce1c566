"""A run directory, read once: everything that a page may show of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunix_exp.errors import UserError
from tunix_exp.evidence import layout
from tunix_exp.evidence.kinds import composed, eval_summary, harness, metrics, plan, predictions
from tunix_exp.evidence.manifest import RunManifest, parse_manifest
from tunix_exp.evidence.strict_json import read_json_object, read_jsonl, read_text
from tunix_exp.report.series import heldout_losses
from tunix_exp.scoring.harness import Sample, marks
from tunix_exp.scoring.paired import Marked
from tunix_exp.scoring.scorecard import Prediction

Plain = dict[str, Any]


@dataclass(frozen=True, slots=True)
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
    base: list[Prediction]
    trained: list[Prediction]
    plan: Plain | None

    @property
    def score(self) -> float | None:
        """The primary score of the model that the run ends with; `None` where nothing was scored."""
        if self.harness is not None:
            found = self.comparison
            return self.harness["base_accuracy"] if found is None else found["trained_accuracy"]
        if self.summary is None:
            return None
        return (self.summary["base"] if self.summary["trained"] is None else self.summary["trained"])[
            "primary_score"
        ]

    @property
    def result(self) -> Plain | None:
        """The summary of what was scored, held-out items or the harness's tasks."""
        return self.summary if self.harness is None else self.harness

    @property
    def comparison(self) -> Plain | None:
        """Base against trained model, on items or on the harness's tasks; `None` where there is none."""
        return None if self.result is None else self.result["comparison"]

    @property
    def answers(self) -> Sequence[Marked]:
        """Right or wrong, item by item: the model that the run ends with."""
        if self.harness is None:
            return self.trained or self.base
        is_trained = (self.root / harness.TRAINED_SAMPLES.path).is_file()
        samples = harness.TRAINED_SAMPLES.path if is_trained else harness.BASE_SAMPLES.path
        rows = enumerate(_lines(self.root, samples), start=1)
        parsed = [Sample.from_dict(row, where=f"{samples}, line {line}") for line, row in rows]
        return marks(parsed, self.harness["primary"])

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
    manifest = parse_manifest(read_text(root / layout.MANIFEST, file=layout.MANIFEST))
    steps = _lines(root, metrics.KIND.path)
    return Record(
        root=root,
        manifest=manifest,
        config=read_json_object(root / layout.CONFIG, file=layout.CONFIG),
        defaults=_object(root, composed.DEFAULTS),
        overrides=composed.overrides_of(root),
        metrics=steps,
        heldout=heldout_losses(root, steps) if steps else {},
        summary=_object(root, eval_summary.KIND.path),
        harness=_object(root, harness.SUMMARY.path),
        base=_predictions(root, predictions.BASE.path),
        trained=_predictions(root, predictions.TRAINED.path),
        plan=_object(root, plan.KIND.path),
    )


def _object(root: Path, name: str) -> Plain | None:
    return read_json_object(root / name, file=name) if (root / name).is_file() else None


def _lines(root: Path, name: str) -> list[Plain]:
    return read_jsonl(root / name, file=name) if (root / name).is_file() else []


def _predictions(root: Path, name: str) -> list[Prediction]:
    return [
        Prediction.from_dict(row, where=f"{name}, line {line}")
        for line, row in enumerate(_lines(root, name), start=1)
    ]
