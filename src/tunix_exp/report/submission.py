"""The page of a submission, from the run directory alone: what was trained and reached, how to check it."""

import shlex
from pathlib import Path

from tunix_exp.errors import UserError
from tunix_exp.evidence import layout
from tunix_exp.evidence.kinds import data_card, predictions, source
from tunix_exp.evidence.kinds.read import read_object
from tunix_exp.report.page.record import read_record
from tunix_exp.report.page.render import render_markdown
from tunix_exp.report.result import sentences
from tunix_exp.scoring.paired import GROUPS

_FILES = {
    "CONFIG": layout.CONFIG,
    "PATCH": source.PATCH.path,
    "BASE": predictions.BASE.path,
    "TRAINED": predictions.TRAINED.path,
}


def submission_readme(run: Path) -> str:
    """The Markdown page of the completed run `run`; a run without a trained score is no submission."""
    record = read_record(run)
    manifest = record.manifest
    if manifest.status != "completed" or manifest.headline is None or manifest.mode == "eval":
        raise UserError(
            f"a submission needs a completed run with a trained model's score; this one is "
            f"{manifest.status}, of mode {manifest.mode}",
            where=str(run),
            remedy="pack it without --kaggle, or submit another run",
        )
    if record.summary is None:
        raise UserError(
            "a submission needs the scores of held-out items; this run was asked the harness's tasks",
            where=str(run),
            remedy="pack it without --kaggle, or submit a run with another eval option",
        )
    asked = record.config["data"]["max_tokens"]
    return render_markdown(
        "submission.md",
        manifest=manifest,
        code=manifest.code,
        model=manifest.model,
        config=record.config,
        summary=record.summary,
        metrics=record.metrics,
        sentence=sentences(record.summary)[0],
        command=shlex.join(manifest.command),
        row_tokens=read_object(data_card.KIND, run)["limits"]["row_tokens"] if asked is None else asked,
        groups=GROUPS,
        files=_FILES,
    )
