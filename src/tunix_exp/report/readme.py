"""`README.md` of a run: what a person reads first."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from tunix_exp.evidence import layout
from tunix_exp.evidence.kinds import config, eval_summary, harness, pages
from tunix_exp.evidence.kinds.kind import Kind
from tunix_exp.evidence.kinds.read import object_if_any
from tunix_exp.evidence.kinds.registry import kinds_of
from tunix_exp.evidence.manifest import read_manifest
from tunix_exp.report import facts
from tunix_exp.report.classes import tables_of_answers
from tunix_exp.report.markdown import table as table_of
from tunix_exp.report.markdown import verbatim
from tunix_exp.report.page.render import render_markdown
from tunix_exp.report.result import sentences, table
from tunix_exp.report.table import as_markdown


def readme(run: Path) -> str:
    """The Markdown page of the run directory `run`, from the files that lie in it by now.

    It claims no end of the run: the page itself is one of the files that the run's last step verifies.
    """
    manifest = read_manifest(run)
    # the manifest is there already, the three others come
    ends = {layout.MANIFEST, layout.SUMS, pages.README.path, pages.REPORT.path}
    known, strangers = of_kinds(ends | set(layout.files_of(run)), run)
    rows = [[verbatim(kind.path), kind.holds] for kind in known]
    rows += [[verbatim(name), facts.STRANGER] for name in strangers]
    return render_markdown(
        "readme.md",
        manifest=manifest,
        words=facts,
        facts=facts.markdown(facts.all_of(manifest, run)),
        reproduction=facts.reproduction(manifest),
        curves=pages.CURVES.path,
        has_curves=(run / pages.CURVES.path).exists(),
        files=table_of(["file", "contents"], rows),
        **result_of(run),
    )


def result_of(run: Path) -> dict[str, Any]:
    """The result in sentences and in a table, for a template; empty where nothing was scored."""
    summary = summary_of(run)
    if summary is None:
        return {"sentences": [], "tables": []}
    return {
        "sentences": sentences(summary),
        "tables": [as_markdown(one) for one in (table(summary), *tables_of_answers(summary))],
    }


def summary_of(run: Path) -> dict[str, Any] | None:
    """The summary of what was scored, held-out items or the harness's tasks."""
    return object_if_any(eval_summary.KIND, run) or object_if_any(harness.SUMMARY, run)


def of_kinds(names: Collection[str], run: Path) -> tuple[dict[Kind, list[str]], list[str]]:
    """The files of `run` by their kinds, in the order of these, and those that are of none."""
    kinds = kinds_of(object_if_any(config.KIND, run) or {})
    known = {kind: sorted(name for name in names if kind.has(name)) for kind in kinds}
    known = {kind: files for kind, files in known.items() if files}
    return known, sorted(set(names) - {name for files in known.values() for name in files})
