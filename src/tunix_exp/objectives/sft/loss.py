"""The loss of supervised fine-tuning: nats per response token, over the whole batch."""

import jax
import jax.numpy as jnp

from tunix_exp.models.loss import count, summed_nll
from tunix_exp.objectives.objective import Loss, Models, Scalars, Summed
from tunix_exp.objectives.sft.batch import BatchArrays
from tunix_exp.objectives.sft.evidence import METRICS

_WEIGHT = "response_tokens"


def _weigh(batch: BatchArrays) -> dict[str, jax.Array]:
    return {_WEIGHT: count(batch.loss_mask_BT)}


def _summed(models: Models, part: BatchArrays, scales: Scalars, scalars: Scalars) -> Summed:
    del scalars
    return Summed(summed_nll(models.policy, *part, scales[_WEIGHT]), {})  # pyright: ignore[reportArgumentType]


def _real_tokens(batch: BatchArrays) -> jax.Array:
    return jnp.sum(batch.segment_ids_BT > 0)


LOSS = Loss(weigh=_weigh, summed=_summed, real_tokens=_real_tokens, metrics=METRICS)
