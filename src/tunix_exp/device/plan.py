"""How much memory a step takes on each device, and how long at best, before any of it is taken.

Two sources: arithmetic on shapes, in a moment and without a compiler, and the compiled step's own figures.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any, Literal

import jax
from rich.table import Table

from tunix_exp.device.speed import Speed
from tunix_exp.errors import UserError

GIB = 2**30

HOPELESS = "the plan alone is so far over the memory that the compiler was not asked"


def device_bytes(tree: Any) -> int:
    """Bytes that one device holds of all arrays in `tree` (or `ShapeDtypeStruct`s with shardings)."""
    return sum(
        math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
        for leaf in jax.tree.leaves(tree)
    )


@dataclass(frozen=True)
class Parts:
    """Bytes on one device, by what they are for.

    The loss is computed before the blocks' backward pass: never held together with a block at work there, or
    with the gradients that come of it.
    """

    parameters: int
    gradients: int  # of what is outside the blocks, and of slices the sum of all
    block_gradients: int
    optimizer_state: int
    compute_weights: int  # the parameters in the compute dtype, where that is another
    saved_activations: int  # kept from the forward for the backward pass
    block: int  # one block at work in the backward pass
    loss: int  # one chunk of logits with its gradient
    batch: int

    @property
    def total(self) -> int:
        """The most that is held at a time."""
        return sum(asdict(self).values()) - min(self.block + self.block_gradients, self.loss)

    @property
    def certain(self) -> int:
        """What no compiler can do without."""
        return self.parameters + self.gradients + self.block_gradients + self.optimizer_state

    @property
    def largest(self) -> tuple[str, int]:
        """Name and bytes of the largest part."""
        return _largest(self)


def _largest(parts: "Parts | EvaluationParts") -> tuple[str, int]:
    name, size = max(asdict(parts).items(), key=lambda part: part[1])
    return name.replace("_", " "), size


@dataclass(frozen=True)
class EvaluationParts:
    """Bytes on one device while a model is evaluated, by what they are for."""

    parameters: int
    held_beside: int  # what an adapter was merged out of
    compute_weights: int  # the matrices as answers read them, where they are copies
    cache: int  # keys and values of the rows that are answered at a time
    block: int  # one block at work, of a prompt or of a row of held-out losses
    logits: int  # of the last places, or of one chunk of the losses
    batch: int

    @property
    def total(self) -> int:
        """The most that is held at a time."""
        return sum(asdict(self).values())

    @property
    def certain(self) -> int:
        """What no compiler can do without."""
        return self.parameters + self.held_beside

    @property
    def largest(self) -> tuple[str, int]:
        """Name and bytes of the largest part."""
        return _largest(self)


@dataclass(frozen=True)
class Work:
    """One step on one device: operations that the model asks for, all that are done, and bytes moved."""

    model_flops: float
    flops: float
    hbm_bytes: float

    def seconds(self, speed: Speed) -> tuple[float, Literal["compute", "memory"]]:
        """The least time that a step can take, and which of the two bounds it (Williams et al. 2009)."""
        compute_s = self.flops / speed.device_peak_flops
        memory_s = self.hbm_bytes / (speed.bandwidth / speed.devices_per_chip)
        return (compute_s, "compute") if compute_s >= memory_s else (memory_s, "memory")


@dataclass(frozen=True)
class Compiled:
    """What the compiler says one program takes on one device.

    `peak_bytes` is what must be there: arguments, outputs that do not reuse them, and temporaries. Of a TPU
    it is the most that lives at a time, the compiler's own measure: what it calls the size of temporaries
    there also counts what never lives together, and exceeds the memory of steps that it compiles to fit.
    """

    argument_bytes: int
    output_bytes: int
    alias_bytes: int
    temp_bytes: int
    code_bytes: int
    peak_bytes: int


def compiled_figures(compiled: Any, platform: str, *, beside: int = 0) -> Compiled:
    """The figures of a compiled program; its code lies in the same memory, and `beside` bytes of weights that
    it does not read.
    """
    analysis = _analysis(compiled)
    live = analysis.argument_size_in_bytes + analysis.output_size_in_bytes - analysis.alias_size_in_bytes
    # On CPU the most that lives at a time is told without the temporaries.
    peak = analysis.peak_memory_in_bytes if platform == "tpu" else live + analysis.temp_size_in_bytes
    return Compiled(
        argument_bytes=analysis.argument_size_in_bytes + beside,
        output_bytes=analysis.output_size_in_bytes,
        alias_bytes=analysis.alias_size_in_bytes,
        temp_bytes=analysis.temp_size_in_bytes,
        code_bytes=analysis.generated_code_size_in_bytes,
        peak_bytes=peak + analysis.generated_code_size_in_bytes + beside,
    )


@lru_cache(maxsize=4)  # the jobs of a sweep share a program
def _analysis(compiled: Any) -> Any:
    return compiled.memory_analysis()


def out_of_memory(error: Exception) -> str | None:
    """The compiler's own sentence, where `error` says that the program takes too much memory."""
    text = str(error)
    if "RESOURCE_EXHAUSTED" not in text and "CompileTimeHbmOom" not in text:
        return None
    return f"the compiler says: {text.strip().splitlines()[0]}"


@dataclass(frozen=True)
class Remedy:
    """A change of the config, in the words of the command line, and what the step would then take."""

    words: str
    costs: str
    total_bytes: int


@dataclass(frozen=True)
class Plan:
    """plan.json: what one device holds and does in a step, or in an evaluation alone, and whether that fits.

    An evaluation alone (`mode=eval`) has no step, no work of one, and its own parts.
    """

    platform: str
    topology: str | None
    topology_reason: str | None  # why this one, where the config does not demand it
    mesh: dict[str, int]
    device_memory_bytes: int
    parts: Parts | EvaluationParts
    work: Work | None
    attention: dict[str, str]  # the kernel, and why this one
    loss_chunk: dict[str, int | str | None]  # tokens of a shard that have logits at a time, and why so many
    remat: dict[str, Any] | None  # what is computed again, why, and what each choice would take
    speed: Speed | None
    evaluation: dict[str, int] | None
    step: Compiled | None = None
    answer: Compiled | None = None
    losses: Compiled | None = None
    not_compiled: str | None = None
    """Why there is no compiled step; the compiler's refusal counts as the answer that it does not fit."""
    refused: bool = False

    @property
    def bytes_needed(self) -> int:
        """The compiler's word on the larger of the programs, or the arithmetic's where there is none."""
        programs = (self.step, self.answer, self.losses)
        compiled = [program.peak_bytes for program in programs if program is not None]
        if isinstance(self.parts, EvaluationParts):
            return self.parts.held_beside + max(compiled) if compiled else self.parts.total
        return max(compiled) if self.step is not None else max([self.parts.total, *compiled])

    @property
    def fits(self) -> bool:
        """Whether a device's memory is enough."""
        return not self.refused and self.bytes_needed <= self.device_memory_bytes

    @property
    def is_hopeless(self) -> bool:
        """Whether no compiler can help: what is held for certain is too much, or all of it twice too much."""
        return (
            self.parts.certain > self.device_memory_bytes or self.parts.total > 2 * self.device_memory_bytes
        )

    @property
    def subject(self) -> str:
        """What the plan is of, in a word or two."""
        return "the evaluation" if isinstance(self.parts, EvaluationParts) else "the step"

    def refused_by(self, words: str) -> "Plan":
        """The same plan with the compiler's refusal."""
        return replace(self, not_compiled=words, refused=True)

    def to_json(self) -> dict[str, Any]:
        """All of it, in bytes, operations and seconds."""
        seconds, bound = self._at_best()
        peak = None if self.speed is None else self.speed.device_peak_flops
        return {
            "platform": self.platform,
            "topology": self.topology,
            "topology_reason": self.topology_reason,
            "mesh": self.mesh,
            "device_memory_bytes": self.device_memory_bytes,
            "planned": {f"{name}_bytes": size for name, size in asdict(self.parts).items()}
            | {"total_bytes": self.parts.total},
            "compiled": None if self.step is None else asdict(self.step),
            "compiled_answer": None if self.answer is None else asdict(self.answer),
            "compiled_losses": None if self.losses is None else asdict(self.losses),
            "not_compiled": self.not_compiled,
            "work": None
            if self.work is None
            else asdict(self.work) | {"peak_flops_per_s": peak, "roofline_s": seconds, "bound": bound},
            "attention": self.attention,
            "loss_chunk": self.loss_chunk,
            "remat": self.remat,
            "evaluation": self.evaluation,
            "fits": self.fits,
        }

    def _at_best(self) -> tuple[float, str] | tuple[None, None]:
        if self.speed is None or self.work is None:
            return None, None
        return self.work.seconds(self.speed)

    def table(self) -> Table:
        """The plan as a person reads it."""
        where = self.topology or self.platform
        devices = math.prod(self.mesh.values())
        table = Table(
            title=f"Memory per device ({devices} × {where})", title_justify="left", title_style="bold"
        )
        table.add_column("")
        table.add_column("GiB", justify="right")
        for name, size in asdict(self.parts).items():
            table.add_row(name.replace("_", " "), gib(size))
        table.add_section()
        how = ", counting max(block + block gradients, loss)" if isinstance(self.parts, Parts) else ""
        table.add_row(f"planned peak{how}", gib(self.parts.total))
        if self.step is not None:
            table.add_row("compiled step", gib(self.step.peak_bytes))
        if self.answer is not None:
            table.add_row("compiled generation step", gib(self.answer.peak_bytes))
        if self.losses is not None:
            table.add_row("compiled held-out losses", gib(self.losses.peak_bytes))
        # JAX takes a part of a card when it starts, and a program has no more.
        share = (
            ", as much of the card as JAX takes (device.memory_fraction)" if self.platform == "gpu" else ""
        )
        table.add_row(f"device memory{share}", gib(self.device_memory_bytes))
        return table

    def describe(self) -> str:
        """The plan in a line or two."""
        programs = (self.step,) if isinstance(self.parts, Parts) else (self.answer, self.losses)
        source = "compiled" if any(program is not None for program in programs) else "planned"
        verdict = "fits" if self.fits else "does not fit"
        text = (
            f"{self.subject} {verdict}: {source} peak {gib(self.bytes_needed)} of "
            f"{gib(self.device_memory_bytes)} GiB per device"
        )
        if self.refused:
            text = f"{self.subject} does not fit: {self.not_compiled}"
        elif self.not_compiled is not None:
            text += f"\nnot compiled: {self.not_compiled}"
        if self.work is None:
            return text
        traffic = f"{self.work.hbm_bytes / GIB:.1f} GiB of memory traffic"
        text += f"\none step: {self.work.flops:.3g} FLOPs and {traffic} per device"
        seconds, bound = self._at_best()
        if seconds is not None:
            text += f"; roofline {seconds:.3f} s ({bound}-bound)"
        return text


def guard(plan: Plan, guardrail: str, remedies: Callable[[], list[Remedy]]) -> str | None:
    """Refuse what does not fit (`block`), or return the warning (`warn`); `off` says nothing."""
    if plan.fits or guardrail == "off":
        return None
    name, size = plan.parts.largest
    text = (
        f"{plan.describe().splitlines()[0]}\n"
        f"planned {gib(plan.parts.total)} of {gib(plan.device_memory_bytes)} GiB per device: "
        + ", ".join(f"{part.replace('_', ' ')} {gib(n)}" for part, n in asdict(plan.parts).items())
        + f"; the largest part is {name}, {gib(size)} GiB"
    )
    if guardrail == "warn":
        return text
    raise UserError(
        text,
        where="device.guardrail",
        remedy="; ".join(
            [
                *(_remedy_text(remedy, plan.device_memory_bytes) for remedy in remedies()),
                "device.guardrail=warn continues anyway",
            ]
        ),
    )


def gib(size: float) -> str:
    """Bytes in GiB, with as many digits as a small part needs."""
    value = size / GIB
    return f"{value:.2f}" if value >= 0.1 or value == 0 else f"{value:.2g}"


def _remedy_text(remedy: Remedy, memory_bytes: int) -> str:
    verdict = "fits" if remedy.total_bytes <= memory_bytes else "still too much"
    return f"{remedy.words} ({remedy.costs}): {gib(remedy.total_bytes)} GiB, {verdict}"
