"""That what was odd is recorded as the evidence has it, and shown."""

from collections.abc import Iterator

from tunix_exp.evidence import layout
from tunix_exp.evidence.findings import derive
from tunix_exp.evidence.opened import Disagreement, OpenedRun


def recorded(run: OpenedRun) -> Iterator[Disagreement]:
    """The manifest's findings are what the evidence gives, and the pages of a completed run say them."""
    says = run.manifest.findings
    if says is None:
        return  # a run whose disk failed at its end; the rules know which may
    due = derive(run)
    for one in due:
        if one not in says:
            yield Disagreement(layout.MANIFEST, f"`findings` lack: {one.where}: {one.sentence}")
    for one in says:
        if one not in due:
            yield Disagreement(
                layout.MANIFEST, f"`findings` hold what nothing shows: {one.where}: {one.sentence}"
            )
    if says != due and sorted(map(str, says)) == sorted(map(str, due)):
        yield Disagreement(layout.MANIFEST, "`findings` are in another order")
    for page in (layout.README, layout.REPORT) if run.status == "completed" else ():
        if run.has(page) and not all(run.tells(page, one.sentence) for one in due):
            yield Disagreement(page, f"does not say the findings of {layout.MANIFEST}")
