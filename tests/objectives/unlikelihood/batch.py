"""Batches with two marks: tokens to be learnt, and tokens to be avoided."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tunix_exp.data.batches import BatchStatistics
from tunix_exp.objectives.objective import Lines, Material
from tunix_exp.objectives.sft import batch as sft


class BatchArrays(NamedTuple):
    """int32 tokens and segment ids, and two marks of which a token has at most one."""

    tokens_BT: Any
    segment_ids_BT: Any
    learnt_BT: Any
    avoided_BT: Any


def shapes(examples: int, width: int) -> BatchArrays:
    """The batch as shapes."""
    kinds = (jnp.int32, jnp.int32, jnp.bool_, jnp.bool_)
    return BatchArrays(*(jax.ShapeDtypeStruct((examples, width), kind) for kind in kinds))


def extent(batch: BatchArrays) -> tuple[int, int]:
    """Rows, and tokens a row."""
    return batch.tokens_BT.shape


class Source:
    """Batches of supervised fine-tuning, the responses of some examples marked as avoided."""

    def __init__(self, material: Material, *, avoid: str) -> None:
        """`avoid` is their category."""
        self._plain = sft.Source(material)
        self._lengths = {
            example.example.id: example.response_length
            for example in material.sets[0].tokenized.kept
            if example.example.category == avoid
        }

    @property
    def steps_per_epoch(self) -> float:
        """How many batches hold every example once."""
        return self._plain.steps_per_epoch

    def arrays(self, number: int) -> BatchArrays:
        """Arrays of shape B × T."""
        tokens_BT, segment_ids_BT, response_BT = self._plain.arrays(number)
        names, avoided_BT = iter(self.names(number)), np.zeros_like(response_BT)
        for row, segment_ids_T in enumerate(segment_ids_BT):
            for segment in range(1, segment_ids_T.max() + 1):
                if next(names) in self._lengths:
                    avoided_BT[row] |= response_BT[row] & (segment_ids_T == segment)
        return BatchArrays(tokens_BT, segment_ids_BT, response_BT & ~avoided_BT, avoided_BT)

    def names(self, number: int) -> tuple[str, ...]:
        """The examples' ids."""
        return self._plain.names(number)

    def widths(self, count: int) -> tuple[int, ...]:
        """The widths that the first `count` batches have."""
        return self._plain.widths(count)

    def statistics(self) -> BatchStatistics:
        """How one epoch goes into batches."""
        return self._plain.statistics()

    def text(self, number: int) -> str:
        """The examples of each row, and its padding."""
        return self._plain.text(number)

    def lines(self) -> Lines:
        """Which examples are avoided, and how many tokens of each."""
        return {"avoided.jsonl": [{"id": name, "tokens": count} for name, count in self._lengths.items()]}
