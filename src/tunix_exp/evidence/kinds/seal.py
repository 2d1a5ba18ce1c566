"""`SHA256SUMS`: the hash of every file, the manifest's own among them."""

import re

from tunix_exp.evidence.kinds.kind import Disagreement, Found, Kind, at_times
from tunix_exp.evidence.layout import MANIFEST, SUMS, sums_text
from tunix_exp.evidence.opened import OpenedRun
from tunix_exp.evidence.strict_json import read_text

_SUM = re.compile(r"([0-9a-f]{64})  (.+)")


def _sealed(run: OpenedRun) -> Found:
    """It is what the manifest, its own hash included, makes it."""
    files = run.manifest.files
    if files is None or not run.is_sealed:
        return
    try:
        text = read_text(run.root / SUMS, file=SUMS)
    except FileNotFoundError:
        yield "is missing: a run ends by writing it"
        return
    due = {**files, MANIFEST: run.digests[MANIFEST]}
    if text == sums_text(due):
        return
    yield f"does not match the hashes in {MANIFEST}"
    listed = {match[2]: match[1] for line in text.splitlines() if (match := _SUM.fullmatch(line))}
    for name in sorted(run.files & listed.keys() & due.keys()):
        if run.digests[name] == due[name] != listed[name]:
            yield Disagreement(name, f"differs from its hash in {SUMS}")


KIND = Kind(
    path=SUMS,
    name="seal",
    holds="the sha256 of every file, the manifest too: `sha256sum --check` reads it",
    when=at_times,  # it comes last: the check knows
    is_open=True,
    at_any_end=(_sealed,),
)
