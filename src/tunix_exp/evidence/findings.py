"""What is odd about a run, and true as far as anybody knows: it is written and shown, and fails nothing.

The test of the difference: could an honest run on a strange machine do this? A host that stalls, a clock
that is set, a driver that tells nonsense: these are findings, which each kind of evidence looks for. A hash,
a number that follows from others, an answer scored again: these are integrity, and a disagreement fails the
run. That the manifest's findings are those which the evidence gives, is integrity too.
"""

from collections.abc import Sequence
from contextlib import suppress

from tunix_exp.evidence.kinds.kind import Absent
from tunix_exp.evidence.layout import MANIFEST
from tunix_exp.evidence.opened import OpenedRun
from tunix_exp.evidence.sections import Finding

# Of one code so many are told one by one.
_MOST_OF_A_CODE = 20


def derive(run: OpenedRun) -> tuple[Finding, ...]:
    """Everything odd that the evidence of `run` has, in an order that follows from it alone."""
    return run.once("findings", MANIFEST, lambda: _derived(run))


def _derived(run: OpenedRun) -> tuple[Finding, ...]:
    by_code: dict[str, list[Finding]] = {}
    for kind in run.kinds:
        for look in kind.sanity:
            with suppress(Absent):
                for one in look(run):
                    by_code.setdefault(one.code, []).append(one)
    return tuple(one for several in by_code.values() for one in _abridged(several))


def _abridged(several: Sequence[Finding]) -> list[Finding]:
    kept, rest = list(several[:_MOST_OF_A_CODE]), len(several) - _MOST_OF_A_CODE
    if rest > 0:
        last = kept[-1]
        kept[-1] = last.model_copy(update={"sentence": f"{last.sentence}; and {rest} more like it"})
    return kept
