"""Batches of supervised fine-tuning: rows of prompts and responses, and which tokens are responses."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from tunix_exp.data.batches import Batches, BatchStatistics
from tunix_exp.data.card import rows_text
from tunix_exp.data.mixture import Weighted
from tunix_exp.objectives.objective import Lines, Material


class BatchArrays(NamedTuple):
    """A batch on its way to the device: int32 tokens, segment ids (0 is padding), response marks.

    Fields are arrays on host or device, or their shapes alone.
    """

    tokens_BT: Any
    segment_ids_BT: Any
    loss_mask_BT: Any


class MixedArrays(NamedTuple):
    """The same of a mixture, with the number of each row's set, int32."""

    tokens_BT: Any
    segment_ids_BT: Any
    loss_mask_BT: Any
    set_B: Any


def shapes(examples: int, width: int) -> BatchArrays:
    """The batch as shapes; a row is one example, or several where rows are packed."""
    kinds = (jnp.int32, jnp.int32, jnp.bool_)
    return BatchArrays(*(jax.ShapeDtypeStruct((examples, width), kind) for kind in kinds))


def mixed_shapes(examples: int, width: int) -> MixedArrays:
    """The same of a mixture."""
    return MixedArrays(*shapes(examples, width), jax.ShapeDtypeStruct((examples,), jnp.int32))


def extent(batch: BatchArrays | MixedArrays) -> tuple[int, int]:
    """Rows, and tokens a row."""
    return batch.tokens_BT.shape


class Source:
    """The data package's batches as training asks for them."""

    def __init__(self, material: Material) -> None:
        """Of these examples; nothing is shuffled before a batch is asked for."""
        self._is_mixed = len(material.sets) > 1
        self._batches = Batches(
            [Weighted(one.tokenized.kept, one.name, one.weight, one.steps) for one in material.sets],
            seed=material.seed,
            batch_size=material.batch_size,
            max_tokens=material.max_tokens,
            pad_id=material.tokenizer.pad_id,
            batching=material.batching,
            bucket_widths=material.bucket_widths,
        )

    @property
    def steps_per_epoch(self) -> float:
        """How many batches hold every example once."""
        return self._batches.steps_per_epoch

    def arrays(self, number: int) -> BatchArrays | MixedArrays:
        """Arrays of shape B × T, of a mixture also of B."""
        batch = self._batches[number]
        arrays = BatchArrays(batch.tokens_BT, batch.segment_ids_BT, batch.loss_mask_BT)
        return MixedArrays(*arrays, batch.set_B) if self._is_mixed else arrays

    def names(self, number: int) -> tuple[str, ...]:
        """The examples' ids."""
        return self._batches[number].example_ids

    def widths(self, count: int) -> tuple[int, ...]:
        """The widths that the first `count` batches have."""
        return self._batches.widths(count)

    def statistics(self) -> BatchStatistics:
        """How one epoch goes into batches."""
        return self._batches.statistics()

    def text(self, number: int) -> str:
        """The examples of each row, and its padding."""
        return rows_text(self._batches[number])

    def lines(self) -> Lines:
        """None: the data card says it all."""
        return {}
