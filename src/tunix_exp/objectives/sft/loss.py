"""The loss of supervised fine-tuning: nats per response token, over the whole batch."""

from collections.abc import Sequence
from functools import cache, partial

import jax
import jax.numpy as jnp

from tunix_exp.models.loss import count, summed_and_rows_nll, summed_nll
from tunix_exp.objectives.objective import Loss, Models, Scalars, Summed
from tunix_exp.objectives.sft.batch import BatchArrays, MixedArrays
from tunix_exp.objectives.sft.evidence import METRICS, of_sets

_WEIGHT = "response_tokens"


def _weigh(batch: BatchArrays | MixedArrays) -> dict[str, jax.Array]:
    return {_WEIGHT: count(batch.loss_mask_BT)}


def _summed(models: Models, part: BatchArrays, scales: Scalars, scalars: Scalars) -> Summed:
    del scalars
    return Summed(summed_nll(models.policy, *part, scales[_WEIGHT]), {})  # pyright: ignore[reportArgumentType]


def _summed_by_set(
    sets: tuple[str, ...], models: Models, part: MixedArrays, scales: Scalars, scalars: Scalars
) -> Summed:
    """As `_summed`, and of each set its loss and its tokens."""
    del scalars
    tokens_BT, segment_ids_BT, loss_mask_BT, set_B = part
    loss, nll_B = summed_and_rows_nll(
        models.policy,
        tokens_BT,
        segment_ids_BT,
        loss_mask_BT,
        scales[_WEIGHT],  # pyright: ignore[reportArgumentType]
    )
    weight_B = jnp.sum(loss_mask_BT[:, 1:], axis=1)
    parts = {}
    for number, name in enumerate(sets):
        is_of_it_B = set_B == number
        weight = jnp.sum(jnp.where(is_of_it_B, weight_B, 0))
        parts[f"loss/{name}"] = jnp.sum(jnp.where(is_of_it_B, nll_B, 0.0)), weight
        parts[f"response_tokens/{name}"] = weight
        parts[f"rows/{name}"] = jnp.sum(is_of_it_B)
    return Summed(loss, parts)


def _real_tokens(batch: BatchArrays | MixedArrays) -> jax.Array:
    return jnp.sum(batch.segment_ids_BT > 0)


@cache
def loss_of(sets: Sequence[str]) -> Loss:
    """The loss of batches of one set, or of those that are mixed of several."""
    if not sets:
        return LOSS
    return Loss(
        weigh=_weigh,
        summed=partial(_summed_by_set, tuple(sets)),
        real_tokens=_real_tokens,
        metrics=METRICS + of_sets(sets),
    )


LOSS = Loss(weigh=_weigh, summed=_summed, real_tokens=_real_tokens, metrics=METRICS)
