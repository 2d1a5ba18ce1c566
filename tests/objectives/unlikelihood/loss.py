"""Nats per learnt token, and the weighted unlikelihood per avoided token."""

import jax
import jax.numpy as jnp

from tests.objectives.unlikelihood.batch import BatchArrays
from tests.objectives.unlikelihood.evidence import METRICS
from tunix_exp.models.loss import count, each_nll
from tunix_exp.objectives.objective import Loss, Models, Scalars, Summed

_ALMOST_ONE = 1 - 1e-6


def _weigh(batch: BatchArrays) -> dict[str, jax.Array]:
    return {"response_tokens": count(batch.learnt_BT), "avoided_tokens": count(batch.avoided_BT)}


def _summed(models: Models, part: BatchArrays, scales: Scalars, scalars: Scalars) -> Summed:
    marked_BT = part.learnt_BT | part.avoided_BT
    nll_BT = each_nll(models.policy, part.tokens_BT, part.segment_ids_BT, marked_BT)
    p_BT = jnp.exp(-nll_BT)
    avoided_BT = part.avoided_BT.at[:, 0].set(False)  # the first token is never predicted
    likelihood = jnp.sum(jnp.where(part.learnt_BT, nll_BT, 0.0))
    unlikelihood = jnp.sum(jnp.where(avoided_BT, -jnp.log1p(-jnp.minimum(p_BT, _ALMOST_ONE)), 0.0))
    loss = likelihood * scales["response_tokens"]
    loss += scalars["weight"] * unlikelihood * scales["avoided_tokens"]
    probability = jnp.sum(jnp.where(avoided_BT, p_BT, 0.0)), jnp.sum(avoided_BT)
    return Summed(loss, {"avoided_probability": probability, "unlikelihood_weight": scalars["weight"]})


def _real_tokens(batch: BatchArrays) -> jax.Array:
    return jnp.sum(batch.segment_ids_BT > 0)


LOSS = Loss(weigh=_weigh, summed=_summed, real_tokens=_real_tokens, metrics=METRICS)
