"""In which rows and rounds prompts are read, by their lengths and the platform alone."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jax.sharding import Mesh

from tunix_exp.evaluation.decode import Prompts
from tunix_exp.models.sharding import rows_of_device

# A token's time is that of reading the weights, until there are rows enough to compute with them meanwhile:
# on two CPU cores (82M parameters, float32) 16 rows take 1.5 times the time of 8. Accelerators compute more
# with every byte. Idle rows cost as much as others.
FEWEST_ROWS = 8
MOST_ROWS = {"cpu": 16, "tpu": 64, "gpu": 64}
SHORTEST_BUCKET = 16
# Rows that have ended wait for so large a part of all; a prompt alone would be read at the cost of a token.
_TURNS = 8


def bucket(length: int) -> int:
    """The padded length of a prompt of `length` tokens: powers of two and their half-way points, from 16.

    Few distinct lengths, so few compilations, at no more than a half more tokens.
    """
    size = SHORTEST_BUCKET
    while size < length:
        size = size + size // 2 if size & (size - 1) == 0 else size // 3 * 4
    return size


class Rows(NamedTuple):
    """How many rows are answered together, and how many of them read their prompts together."""

    answered: int
    read: int


def rows_of(lengths: Sequence[int], platform: str, mesh: Mesh | None) -> Rows:
    """The rows of every call that answers prompts of these lengths: a power of two that the fullest bucket
    fills, from FEWEST_ROWS to the platform's MOST_ROWS.

    All of them are read at once where they hold the bucket; else so few that they wait for each other for no
    long time, and on a mesh one for each of its parts.
    """
    fullest = max(Counter(bucket(length) for length in lengths).values(), default=0)
    rows = FEWEST_ROWS
    while rows < min(fullest, MOST_ROWS[platform]):
        rows *= 2
    if fullest <= rows:
        return Rows(rows, rows)
    parts = 1 if mesh is None else rows // rows_of_device(mesh, rows)
    return Rows(rows, max(rows // _TURNS, parts))


def queues(prompts: Sequence[Sequence[int]]) -> list[list[int]]:
    """The indices of the prompts of each bucket, shortest first, ties by their tokens."""
    by_bucket: dict[int, list[int]] = {}
    for index in sorted(range(len(prompts)), key=lambda i: (len(prompts[i]), tuple(prompts[i]))):
        by_bucket.setdefault(bucket(len(prompts[index])), []).append(index)
    return list(by_bucket.values())


def rounds_of(
    prompts: Sequence[Sequence[int]], queue: Sequence[int], read: int, pad_id: int
) -> Iterator[Prompts]:
    """The prompts of the queue, so many a round, at the right end of their rows."""
    length = bucket(len(prompts[queue[0]]))
    for start in range(0, len(queue), read):
        tokens_QP = np.full((read, length), pad_id, np.int32)
        length_Q, number_Q = np.zeros(read, np.int32), np.zeros(read, np.int32)
        for row, index in enumerate(queue[start : start + read]):
            prompt = prompts[index]
            tokens_QP[row, length - len(prompt) :] = prompt
            length_Q[row], number_Q[row] = len(prompt), index + 1
        yield Prompts(tokens_QP, length_Q, number_Q)
