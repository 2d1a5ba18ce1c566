"""`metrics.jsonl` and `heldout.jsonl`: which steps they must hold, and what each line says."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tunix_exp.evidence.strict_json import BrokenFile, read_jsonl

# step counts finished updates; a line may say more than this, but in numbers only
KEYS = ("step", "loss", "lr", "grad_norm", "tokens", "tokens_per_s", "time_s")
HELDOUT_KEYS = ("step", "loss_nats")


def is_logged(step: int, *, last: int, every: int) -> bool:
    """Whether the figures of `step` are written down: those of step 1, every n-th and the last are."""
    return step in (1, last) or step % every == 0


def logged_steps(*, after: int, last: int, every: int) -> list[int]:
    """The steps in (`after`, `last`] that are written down."""
    return [step for step in range(after + 1, last + 1) if is_logged(step, last=last, every=every)]


def heldout_steps(*, after: int, last: int, every: int | None) -> list[int]:
    """The steps in (`after`, `last`] after which the held-out loss is due."""
    return [] if every is None else [step for step in range(after + 1, last + 1) if step % every == 0]


def step_line(row: Mapping[str, Any]) -> str:
    """What the log says of a line of `metrics.jsonl`."""
    return f"step {row['step']}: loss {row['loss']:.4f}, {row['tokens_per_s']:.0f} tokens/s"


def heldout_line(row: Mapping[str, Any]) -> str:
    """What the log says of a line of `heldout.jsonl`."""
    return f"step {row['step']}: held-out loss {row['loss_nats']:.4f} nats per token"


def read_metrics(path: Path, *, file: str, keys: tuple[str, ...]) -> list[dict[str, Any]]:
    """The lines of a metrics file, steps strictly increasing; else a `BrokenFile` with the line."""
    rows = read_jsonl(path, file=file)
    previous = 0
    for line, row in enumerate(rows, start=1):
        for fault in _faults(row, keys):
            raise BrokenFile(file, fault, line=line)
        if row["step"] <= previous:
            raise BrokenFile(file, f"step {row['step']} follows step {previous}", line=line)
        previous = row["step"]
    return rows


def step_disagreement(rows: list[dict[str, Any]], expected: list[int]) -> str | None:
    """How the steps of `rows` differ from `expected`; `None` when they are the same."""
    found = [row["step"] for row in rows]
    if found == expected:
        return None
    missing = sorted(set(expected) - set(found))
    extra = sorted(set(found) - set(expected))
    parts = [f"holds {len(found)} steps where {len(expected)} are due"]
    parts += [f"step {step} is missing" for step in missing[:1]]
    parts += [f"step {step} is not due" for step in extra[:1]]
    return "; ".join(parts)


def _faults(row: dict[str, Any], keys: tuple[str, ...]) -> Iterator[str]:
    for key in keys:
        if key not in row:
            yield f"has no `{key}`"
    for key, value in row.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            yield f"`{key}` is {value!r}, not a number"
    if isinstance(row["step"], float) or row["step"] < 1:
        yield f"`step` is {row['step']!r}, not a count of finished updates"
