"""Batches as a pure function of (seed, step): the data state of a run is its step number."""

from dataclasses import dataclass
from typing import cast

import grain
import numpy as np

from tunix_exp.data.tokenize import Tokenized, TokenizedExample
from tunix_exp.errors import UserError

# Grain takes 32 bits of seed.
_MOST_SEED = 2**32 - 1


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """One batch on the host.

    `tokens_BT` int32, padded at the right; `segment_ids_BT` int32, 1 where a token is real and 0 where it is
    padding; `loss_mask_BT` bool, true where the token is of the response, the end token included.
    """

    tokens_BT: np.ndarray
    segment_ids_BT: np.ndarray
    loss_mask_BT: np.ndarray
    example_ids: tuple[str, ...]


class Batches:
    """`batches[step]` is the batch of that step, from 0, without end.

    Every epoch is a new shuffle of all examples; where the batch size does not divide them, a batch holds
    the end of one epoch and the beginning of the next.
    """

    def __init__(
        self, tokenized: Tokenized, *, seed: int, batch_size: int, max_tokens: int, pad_id: int
    ) -> None:
        """Hold the examples; nothing is shuffled before a batch is asked for."""
        if not 0 <= seed <= _MOST_SEED:
            raise UserError(
                f"the seed {seed} is out of range", where="seed", remedy=f"choose one from 0 to {_MOST_SEED}"
            )
        self._examples = tokenized.kept
        self._batch_size = batch_size
        self._max_tokens = max_tokens
        self._pad_id = pad_id
        order = grain.MapDataset.range(len(self._examples)).seed(seed).shuffle().repeat()
        self._order = order.batch(batch_size)

    @property
    def steps_per_epoch(self) -> float:
        """How many steps see every example once."""
        return len(self._examples) / self._batch_size

    def epoch_of(self, step: int) -> int:
        """The epoch, from 0, of the first example of the batch of `step`."""
        return step * self._batch_size // len(self._examples)

    def __getitem__(self, step: int) -> Batch:
        """The batch of `step`; the same for the same seed, whatever was asked before."""
        if step < 0:
            raise IndexError(f"steps count from 0; got {step}")
        indices_B = cast(np.ndarray, self._order[step])
        return padded(
            [self._examples[index] for index in indices_B], max_tokens=self._max_tokens, pad_id=self._pad_id
        )


def padded(examples: list[TokenizedExample], *, max_tokens: int, pad_id: int) -> Batch:
    """The examples as one batch of `max_tokens` columns, padded at the right."""
    shape = (len(examples), max_tokens)
    tokens_BT = np.full(shape, pad_id, dtype=np.int32)
    segment_ids_BT = np.zeros(shape, dtype=np.int32)
    loss_mask_BT = np.zeros(shape, dtype=bool)
    for row, example in enumerate(examples):
        length = len(example.tokens_T)
        tokens_BT[row, :length] = example.tokens_T
        segment_ids_BT[row, :length] = 1
        loss_mask_BT[row, example.prompt_length : length] = True
    return Batch(tokens_BT, segment_ids_BT, loss_mask_BT, tuple(example.example.id for example in examples))
