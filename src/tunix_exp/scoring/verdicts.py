"""What a model said of a trace that it was shown: is there a slip, in which step, and what is right there.

What is due is computed from the question and the trace under it, never from the answer key.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from tunix_exp.data.generators.questions import shown
from tunix_exp.data.generators.slips import KINDS, NO_SLIP
from tunix_exp.scoring.marks import marks

Shown = Literal["clean", "arithmetic", "copied", "unit", "dropped"]
assert get_args(Shown) == ("clean", *KINDS)

_SAID = re.compile(
    r"\b(?:slip in step (?P<slip>\d+)|step (?P<missing>\d+) is missing): *(?P<right>[^\n]*)", re.I
)
_Z = 1.959963984540054  # of the normal distribution, 97.5 % lie below
_NONE_SAID = re.compile(rf"\b{NO_SLIP}\b", re.I)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was said of one shown trace. Of a clean one, `detected` is a false alarm.

    `is_said` is whether there is a verdict at all. `located`: the step that has the slip, or is missing, was
    named as what it is; `corrected`: and the right step was written.
    """

    shown: Shown
    is_said: bool
    detected: bool
    located: bool
    corrected: bool

    @property
    def is_right(self) -> bool:
        """No slip where there is none; else its step, named."""
        return self.is_said and not self.detected if self.shown == "clean" else self.located


def verdict_on(question: str, output: str) -> Verdict | None:
    """The verdict that `output` begins with, before its answer.

    None where the question shows no trace whose slip can be computed.
    """
    due = shown(question)
    if due is None:
        return None
    kind: Shown = "clean" if due.slip is None else due.slip.kind
    text = _before_the_answer(output)
    none_said, said = _NONE_SAID.search(text), _SAID.search(text)
    if said is None or (none_said is not None and none_said.start() < said.start()):
        return Verdict(kind, none_said is not None, detected=False, located=False, corrected=False)
    slip = due.slip
    named = said["missing" if slip is not None and slip.kind == "dropped" else "slip"]
    located = slip is not None and named is not None and int(named) == slip.step
    corrected = located and slip is not None and _plain(said["right"]) == _plain(slip.right)
    return Verdict(kind, True, detected=True, located=located, corrected=corrected)


def counted(verdicts: Sequence[Verdict | None]) -> dict[str, dict[str, int]] | None:
    """How many traces of each kind were shown, and what was said of them; None where none was shown."""
    found = [one for one in verdicts if one is not None]
    if not found:
        return None
    return {kind: _counts([one for one in found if one.shown == kind]) for kind in get_args(Shown)}


def share_interval(count: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share, `count` of `n` (Wilson 1927)."""
    share, z2 = count / n, _Z**2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def _counts(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    return {
        "n_items": len(verdicts),
        **{
            name: sum(getattr(one, name) for one in verdicts)
            for name in ("is_said", "detected", "located", "corrected")
        },
    }


def _before_the_answer(output: str) -> str:
    found = marks(output)
    return output[: found[0].begin] if found else output


def _plain(text: str) -> str:
    return "".join(text.split()).rstrip(".").casefold()
