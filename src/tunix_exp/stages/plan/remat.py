"""What the backward pass computes again (`model.remat`), chosen from what the plan says each choice takes."""

from dataclasses import dataclass, replace
from typing import Any

from tunix_exp.device.check import Device
from tunix_exp.device.plan import gib
from tunix_exp.errors import UserError
from tunix_exp.evidence.kinds import plan as kind
from tunix_exp.evidence.kinds.read import read_object
from tunix_exp.models.layers.stack import Remat
from tunix_exp.training.footprint import Setting, footprint
from tunix_exp.training.resume import Parent

REMATS: tuple[Remat, ...] = ("none", "dots", "block")
# What `auto` takes, the less recomputation first. `none` spares the attention's products besides, takes up to
# a third more memory, and writes and reads that: it is no faster by the compiled programs (step-cost.md).
_OFFERED: tuple[Remat, Remat] = ("dots", "block")
# Of the memory: the compiler has taken up to a tenth more than was planned (docs/tpu-fit.md), and the chunks
# of the loss want some, too.
_TAKEN = 9 / 10


@dataclass(frozen=True, slots=True)
class Choice:
    """A way to rematerialize, in words why it is this one, and the planned peak of each that was weighed."""

    remat: Remat
    reason: str
    planned_bytes: dict[Remat, int]

    def describe(self) -> str:
        """The choice in a line."""
        return f"remat: {self.remat} ({self.reason})"

    def to_json(self) -> dict[str, Any]:
        """As `plan.json` has it."""
        return {"chosen": self.remat, "reason": self.reason, "planned_bytes": self.planned_bytes}


def chosen_remat(setting: Setting, device: Device, parent: Parent | None = None) -> Choice:
    """What `model.remat` says; of `auto` `dots` where the plan finds room for it, and else `block`.

    A CPU recomputes blocks whatever its memory, so that the numbers of a run do not depend on that. A run
    that goes on from `parent` takes what that one chose. `setting` has the fewest logits at a time.
    """
    asked: Remat | str = setting.model.remat
    if asked != "auto":
        return Choice(asked, f"model.remat={asked}", {})  # pyright: ignore[reportArgumentType]
    if parent is not None and parent.step:
        return Choice(_recorded(parent), f"as in {parent.run_id}, which is gone on from", {})
    if device.platform == "cpu":
        return Choice("block", "auto, as on every CPU", {})
    planned: dict[Remat, int] = {r: footprint(with_remat(setting, r)).parts.total for r in REMATS}
    return chosen_of(planned, device.memory_bytes)


def chosen_of(planned_bytes: dict[Remat, int], memory_bytes: int) -> Choice:
    """The first on offer where it leaves a tenth of the memory free, and else the other."""
    first, other = _OFFERED
    said = f"{gib(planned_bytes[first])} of {gib(memory_bytes)} GiB planned"
    if planned_bytes[first] <= memory_bytes * _TAKEN:
        return Choice(first, f"auto, as it leaves a tenth of the memory: {said}", planned_bytes)
    return Choice(other, f"auto, as {first} leaves no tenth of the memory: {said}", planned_bytes)


def with_remat(setting: Setting, remat: Remat) -> Setting:
    """`setting`, its model rematerialized in this way."""
    return replace(setting, model=setting.model.model_copy(update={"remat": remat}))


def _recorded(parent: Parent) -> Remat:
    chosen = kind.chosen_remat(read_object(kind.KIND, parent.folder))
    if chosen not in REMATS:
        raise UserError(
            f"`remat` is {chosen!r}, which is none of {', '.join(REMATS)}",
            where=str(parent.folder / kind.KIND.path),
            remedy="begin a new run with training.resume=never",
        )
    return chosen
