"""How many tokens a training row may have, where the config leaves that to data and model."""

from dataclasses import dataclass

from tunix_exp.data.packing import round_up


@dataclass(frozen=True, slots=True)
class Limit:
    """The most tokens of a row, and what that follows from in words; empty where the config says it."""

    tokens: int
    reason: str


def most_tokens(asked: int | None, *, positions: int, bucket_widths: int | tuple[int, ...] | None) -> int:
    """The most tokens that an example may have: what is asked, else all that model and widths allow."""
    if asked is not None:
        return asked
    return min(positions, bucket_widths[-1]) if isinstance(bucket_widths, tuple) else positions


def limit(asked: int | None, *, most: int, longest: int, counted: str = "tokens") -> Limit:
    """The width of a row that holds the `longest` example, a multiple of 16 that is no more than `most`."""
    if asked is not None:
        return Limit(asked, "")
    needed = min(most, round_up(longest))
    return Limit(needed, f"the longest example has {longest} {counted}, and {most} is the most that may be")
