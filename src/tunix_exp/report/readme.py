"""`README.md` of a run: what a person reads first."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from tunix_exp.evidence import layout
from tunix_exp.evidence.kinds import config, eval_summary, harness, pages
from tunix_exp.evidence.kinds.kind import Kind
from tunix_exp.evidence.kinds.read import object_if_any
from tunix_exp.evidence.kinds.registry import kinds_of
from tunix_exp.evidence.manifest import RunManifest, parse_manifest
from tunix_exp.evidence.strict_json import read_text
from tunix_exp.report import facts
from tunix_exp.report.markdown import named, verbatim
from tunix_exp.report.markdown import table as table_of
from tunix_exp.report.result import sentences, table
from tunix_exp.report.table import as_markdown


def readme(run: Path) -> str:
    """The Markdown page of the run directory `run`, from the files that lie in it by now.

    It claims no end of the run: the page itself is one of the files that the run's last step verifies.
    """
    manifest = parse_manifest(read_text(run / layout.MANIFEST, file=layout.MANIFEST))
    parts = [_heading(manifest), *result_of(run), *_findings(manifest)]
    if (run / pages.CURVES.path).exists():
        parts.append(f"![Loss, learning rate, gradient norm and throughput]({pages.CURVES.path})")
    parts += [what_was_run(manifest), _reproducing(manifest), _verifying(), _what_lies_here(run)]
    return "\n\n".join(parts) + "\n"


def result_of(run: Path) -> list[str]:
    """The result in sentences and in a table; nothing where nothing was scored."""
    summary = summary_of(run)
    if summary is None:
        return []
    return [*(f"**{sentence}**" for sentence in sentences(summary)), as_markdown(table(summary))]


def summary_of(run: Path) -> dict[str, Any] | None:
    """The summary of what was scored, held-out items or the harness's tasks."""
    return object_if_any(eval_summary.KIND, run) or object_if_any(harness.SUMMARY, run)


def what_was_run(manifest: RunManifest) -> str:
    """The section on code, model, data and machine."""
    return "## What was run\n\n" + facts.markdown([*facts.what_was_run(manifest), *facts.machine(manifest)])


def _heading(manifest: RunManifest) -> str:
    title, error = f"# {named(manifest.name)}", manifest.error
    if error is None:
        return title
    return f"{title}\n\n**This run {manifest.status}** in stage `{error.stage}`: {named(error.message)}"


def _findings(manifest: RunManifest) -> list[str]:
    if not manifest.findings:
        return []
    listed = "\n".join(f"* `{one.where}`: {one.sentence}" for one in manifest.findings)
    return [f"## Findings ({len(manifest.findings)})\n\n{facts.FINDINGS}\n\n{listed}"]


def _reproducing(manifest: RunManifest) -> str:
    commands = facts.reproduction(manifest)
    return f"## How to reproduce it\n\n```sh\n{commands}\n```\n\n{facts.SAME_BITS}"


def _verifying() -> str:
    commands = "\n".join(facts.VERIFYING)
    return f"## How to verify it\n\n```sh\n{commands}\n```\n\n{facts.WHAT_THEY_DO}\n\n{facts.STATUS}"


def _what_lies_here(run: Path) -> str:
    # the manifest is there already, the three others come
    ends = {layout.MANIFEST, layout.SUMS, pages.README.path, pages.REPORT.path}
    known, strangers = of_kinds(ends | set(layout.files_of(run)), run)
    rows = [[verbatim(kind.path), kind.holds] for kind in known]
    rows += [[verbatim(name), facts.STRANGER] for name in strangers]
    return "## Files\n\n" + table_of(["file", "contents"], rows)


def of_kinds(names: Collection[str], run: Path) -> tuple[dict[Kind, list[str]], list[str]]:
    """The files of `run` by their kinds, in the order of these, and those that are of none."""
    kinds = kinds_of(object_if_any(config.KIND, run) or {})
    known = {kind: sorted(name for name in names if kind.has(name)) for kind in kinds}
    known = {kind: files for kind, files in known.items() if files}
    return known, sorted(set(names) - {name for files in known.values() for name in files})
