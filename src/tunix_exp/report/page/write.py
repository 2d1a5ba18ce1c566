"""Pages on disk, and where one may lie."""

from collections.abc import Sequence
from pathlib import Path

from tunix_exp.errors import UserError
from tunix_exp.evidence.claimed import replace
from tunix_exp.evidence.layout import MANIFEST
from tunix_exp.report.sweep import Summary


def write_page(
    runs: Sequence[Path],
    target: Path,
    *,
    title: str | None,
    summary: Summary | None = None,
    quietly: bool = False,
) -> None:
    """`target` is the page of `runs`: of the only one where `title` is `None`, else of all side by side.

    Those of a sweep have its `summary`.
    """
    _refuse_evidence(target)
    # late: what refuses a wrong path waits for no template
    from tunix_exp.report.page.run import run_page
    from tunix_exp.report.page.sweep import runs_page

    page = (
        run_page(runs[0])
        if title is None
        else runs_page(runs, target=target.resolve(), title=title, summary=summary)
    )
    try:
        replace(target, page.encode("utf-8"))
    except OSError as error:
        raise UserError(
            f"the page cannot be written: {error.strerror}",
            where=str(target),
            remedy="name another file with --to",
        ) from error
    if not quietly:
        print(f"{target}: {len(page.encode('utf-8')) / 1e6:.1f} MB, {len(runs)} run{'s' * (len(runs) != 1)}")


def _refuse_evidence(target: Path) -> None:
    for folder in target.resolve().parents:
        if (folder / MANIFEST).exists():
            raise UserError(
                "a page in a run directory would be a file that the run did not make: verify would say so",
                where=str(target),
                remedy="name a file elsewhere with --to; a completed run has a report.html of its own",
            )
