"""`heldout.jsonl`: the loss on the held-out items, every n steps of the training."""

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import Field

from tunix_exp.evidence.kinds import item_losses
from tunix_exp.evidence.kinds.kind import Compared, Found, Kind, Line, only
from tunix_exp.evidence.kinds.steps import every_nth, wrong_steps
from tunix_exp.evidence.opened import OpenedRun
from tunix_exp.evidence.sections import Finding
from tunix_exp.scoring.paired import mean_loss

# One program computes both losses, but not every device adds up in one order: beyond that they must agree.
# A sum of thousands of products wanders by some tens of its type's last digits, errors of layers do not all
# point one way, and a mean over tokens takes away most of it. What is less than this is a finding.
_ROUNDING = {"float32": 2**-14, "bfloat16": 2**-5}


class HeldoutLine(Line):
    """After `step` finished updates: the mean loss of a response token, in nats."""

    step: Annotated[int, Field(ge=1)]
    loss_nats: float


def described(row: Mapping[str, Any]) -> str:
    """What the log says of a line."""
    return f"step {row['step']}: held-out loss {row['loss_nats']:.4f} nats per token"


def _lines(run: OpenedRun) -> list[dict[str, Any]]:
    return run.lines(KIND) if run.has(KIND.path) else []


def _steps(run: OpenedRun) -> Found:
    """There is a line for every step that falls due."""
    done, after = run.manifest.steps_done, run.first_step
    if done is None or not run.facts.trains:
        return
    every = run.count("eval.heldout_every_steps") if run.facts.eval_kind == "items" else None
    # At the step that it went on from too: the run before may have ended between checkpoint and loss.
    yield from wrong_steps(_lines(run), every_nth(after=max(after - 1, 0), last=done, every=every))


def _last(run: OpenedRun) -> tuple[dict[str, Any], float] | None:
    """The line of the last step, where there is one, and the same loss by the items' own losses."""
    rows = _lines(run)
    if not rows or rows[-1]["step"] != run.manifest.steps_done or not run.has(item_losses.TRAINED.path):
        return None
    return rows[-1], mean_loss(run.rows(item_losses.TRAINED))


def _last_is_the_mean(run: OpenedRun) -> Found:
    """The loss after the last step is the mean of the items' own losses."""
    last = _last(run)
    if last is None:
        return
    rounding = _ROUNDING[run.setting("device.compute_dtype")]
    if not math.isclose(last[0]["loss_nats"], last[1], rel_tol=rounding):
        yield f"ends with {last[0]['loss_nats']}, but {item_losses.TRAINED.path} gives {last[1]}"


def _rounded_otherwise(run: OpenedRun) -> Iterator[Finding]:
    """The held-out loss after the last step, computed twice by one program."""
    last = _last(run)
    if last is not None and last[0]["loss_nats"] != last[1]:
        yield Finding(
            code="last held-out loss rounded otherwise",
            where=f"{KIND.path}, step {last[0]['step']}",
            sentence=f"it is {last[0]['loss_nats']!r}, and {last[1]!r} when it was computed again: on this "
            "machine one program does not always round alike",
        )


KIND = Kind(
    path="heldout.jsonl",
    name="held-out losses in training",
    holds="the loss on the held-out items during the training",
    when=only("may", lambda facts: facts.trains and facts.eval_kind == "items"),
    schema=HeldoutLine,
    is_appended=True,
    curves="heldout/",
    integrity=(_steps, _last_is_the_mean),
    sanity=(_rounded_otherwise,),
    compared=(Compared("step", names={"loss_nats": "held-out loss"}, lag=1),),
)
