"""The memory plan as bars: what a step holds on one device, against the memory that the device has."""

from typing import Any, NamedTuple

from tunix_exp.numbers import count_of, figure, percent, size
from tunix_exp.report.facts import Facts

# In the order of plan.json; of the loss and the blocks' backward pass the larger is drawn: they never meet.
_PARTS = (
    ("parameters", "parameters"),
    ("gradients", "gradients"),
    ("block_gradients", "gradients of the blocks"),
    ("optimizer_state", "optimizer state"),
    ("compute_weights", "weights in the compute dtype"),
    ("saved_activations", "activations kept for the backward pass"),
    ("block", "one transformer block"),
    ("loss", "one chunk of logits"),
    ("batch", "batch"),
)
# And of an evaluation alone.
_EVALUATION_PARTS = (
    ("parameters", "parameters"),
    ("held_beside", "what an adapter was merged out of"),
    ("compute_weights", "weights in the compute dtype"),
    ("cache", "keys and values of the answers"),
    ("block", "one transformer block"),
    ("logits", "logits"),
    ("batch", "batch"),
)
_PROGRAMS = (
    ("compiled", "compiled step"),
    ("compiled_answer", "compiled generation step"),
    ("compiled_losses", "compiled held-out losses"),
)
# Below this share of the device's memory a bar to scale shows no parts: a second one enlarges them.
_ENLARGED_BELOW = 0.25


class Segment(NamedTuple):
    """A piece of a bar, in percent of the drawing's width; `tone` is its colour's name."""

    name: str
    size: str
    share: str
    tone: str
    x: str
    width: str


class Bar(NamedTuple):
    """One bar with its caption."""

    name: str
    total: str
    segments: tuple[Segment, ...]


class MemoryPicture(NamedTuple):
    """Bars on the scale of the device, its limit, and where they are too thin the same enlarged."""

    verdict: str
    bars: tuple[Bar, ...]
    limit_x: str
    limit: str
    enlarged: Bar | None
    legend: tuple[Segment, ...]
    facts: Facts


def memory_picture(plan: dict[str, Any]) -> MemoryPicture:
    """What `plan.json` says, drawn."""
    planned, limit = plan["planned"], plan["device_memory_bytes"]
    turns, drawn = _drawn(planned)
    total = planned["total_bytes"]
    programs = {name: plan[key]["peak_bytes"] for key, name in _PROGRAMS if plan.get(key) is not None}
    peak = max(programs.values(), default=0)
    scale = max(limit, total, peak)
    bars = [Bar("planned", size(total), _segments(drawn, scale, total))]
    bars += [
        Bar(name, size(held), _segments([("program", name, held)], scale, held))
        for name, held in programs.items()
    ]
    # The compiler has the last word on what it was asked; what lies beside its programs comes on top.
    if _is_evaluation(planned) and programs:
        held = planned["held_beside_bytes"] + peak
    else:
        held = peak if plan["compiled"] is not None else max(total, peak)
    whole = _segments(drawn, total, total)
    is_thin = total < _ENLARGED_BELOW * scale
    return MemoryPicture(
        verdict=_verdict(plan, held),
        bars=tuple(bars),
        limit_x=_width(limit, scale),
        limit=size(limit),
        enlarged=Bar("planned, enlarged", size(total), whole) if is_thin else None,
        legend=whole,
        facts=_facts(plan, turns),
    )


def _is_evaluation(planned: dict[str, Any]) -> bool:
    return "cache_bytes" in planned


def _drawn(planned: dict[str, Any]) -> tuple[int | None, list[tuple[str, str, int]]]:
    """The bytes of the part that is not drawn, and the parts of the bar."""
    if _is_evaluation(planned):
        return None, [(key, name, planned[f"{key}_bytes"]) for key, name in _EVALUATION_PARTS]
    held = {key: planned[f"{key}_bytes"] for key, _ in _PARTS if f"{key}_bytes" in planned}
    # Plans of before have all gradients in one part, as if they were there with the loss.
    later = [key for key in ("block_gradients", "block") if key in held]
    silent = min((["loss"], later), key=lambda keys: sum(held[key] for key in keys))
    parts = [(key, name, held[key]) for key, name in _PARTS if key in held and key not in silent]
    return sum(held[key] for key in silent), parts


def _verdict(plan: dict[str, Any], held: int) -> str:
    subject = "The evaluation" if _is_evaluation(plan["planned"]) else "The step"
    if plan["fits"]:
        return (
            f"{subject} fits: {size(held)} of {size(plan['device_memory_bytes'])} a device, "
            f"{percent(held / plan['device_memory_bytes'])}."
        )
    return f"{subject} does not fit: {plan['not_compiled'] or f'it needs {size(held)} a device.'}"


def _facts(plan: dict[str, Any], turns: int | None) -> Facts:
    work = plan["work"]
    facts: Facts = [
        ("device", [plan["topology"] or plan["platform"]]),
        ("mesh", [", ".join(f"{axis} {count}" for axis, count in plan["mesh"].items())]),
    ]
    if work is not None:
        done = f"{count_of(work['flops'])} FLOPs, {size(work['hbm_bytes'])} of memory traffic"
        facts.append(("one step, per device", [done]))
    if turns is not None:
        facts.append(("not drawn", [f"{size(turns)}: peak = max(block + block gradients, loss)"]))
    if work is not None and work["roofline_s"] is not None:
        facts.append(("roofline", [f"{figure(work['roofline_s'])} s a step ({work['bound']}-bound)"]))
    if plan["not_compiled"] is not None:
        facts.append(("not compiled", [plan["not_compiled"]]))
    return facts


def _segments(parts: list[tuple[str, str, int]], scale: int, total: int) -> tuple[Segment, ...]:
    found, begun = [], 0
    for key, name, held in parts:
        share = percent(held / total) if total else ""
        found.append(Segment(name, size(held), share, key, _width(begun, scale), _width(held, scale)))
        begun += held
    return tuple(found)


def _width(held: int, scale: int) -> str:
    return f"{100 * held / scale:.3f}%"
