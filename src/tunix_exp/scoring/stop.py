"""Where an answer ends though the model wrote on: before the first of the texts that begin something else."""

from collections.abc import Sequence


def place(output: str, stop: Sequence[str]) -> int | None:
    """Where in `output` the first of the texts `stop` begins; `None` where none of them stands."""
    found = [at for text in stop if (at := output.find(text)) >= 0]
    return min(found, default=None)


def answered(output: str, stop: Sequence[str]) -> str:
    """What is scored of `output`: all of it before the first of the texts `stop`."""
    return output[: place(output, stop)]
