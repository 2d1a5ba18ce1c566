"""Sampling, rewards, loss and state of the objective, as a value."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tests.objectives.reinforce.config import ObjectiveConfig
from tests.objectives.reinforce.evidence import METRICS
from tunix_exp.models.loss import each_nll, positions_of
from tunix_exp.objectives.objective import (
    Collected,
    Held,
    Loss,
    Models,
    Objective,
    Policy,
    Programs,
    Scalars,
    Summed,
)
from tunix_exp.objectives.sft import batch as sft


class Answers(NamedTuple):
    """Prompts that end in a sampled token, what it is worth, and how likely it was."""

    tokens_BT: Any
    segment_ids_BT: Any
    sampled_BT: Any
    advantage_B: Any
    nll_B: Any


def shapes(examples: int, width: int) -> Answers:
    """The batch as shapes."""
    plain, value_B = sft.shapes(examples, width), jax.ShapeDtypeStruct((examples,), jnp.float32)
    return Answers(*plain, value_B, value_B)


def extent(batch: Answers) -> tuple[int, int]:
    """Rows, and tokens a row."""
    return batch.tokens_BT.shape


def init(seed: int) -> dict[str, Any]:
    """The sampling key, and the mean of the rewards so far."""
    return {"key": jax.random.key_data(jax.random.key(seed)), "mean": jnp.float32(0)}


def programs(policy: Policy, examples: int, width: int) -> Mapping[str, Any]:
    """The program that answers a batch of prompts of this width."""

    def sample(params: Any, held: Held, tokens_BT: Any, segment_ids_BT: Any, last_B: Any, words: Any) -> Any:
        model = Policy(policy.graphdef, params, held).model()
        positions_BT = positions_of(segment_ids_BT)
        x_BTD, table_VD = model.embed(tokens_BT, positions_BT)
        x_BTD, _ = model.decode(x_BTD, positions_BT, segment_ids_BT)
        x_BD = jnp.take_along_axis(x_BTD, last_B[:, None, None], axis=1)[:, 0]
        logits_BV = model.unembedding.logits(x_BD, table_VD)
        token_B = jax.random.categorical(jax.random.wrap_key_data(words), logits_BV)
        nll_BV = -jax.nn.log_softmax(logits_BV)
        return token_B, jnp.take_along_axis(nll_BV, token_B[:, None], axis=1)[:, 0]

    plain = sft.shapes(examples, width)
    last_B = jax.ShapeDtypeStruct((examples,), jnp.int32)
    words = jax.ShapeDtypeStruct((2,), jnp.uint32)
    arguments = (policy.params, policy.held, plain.tokens_BT, plain.segment_ids_BT, last_B, words)
    return {"sample": jax.jit(sample).lower(*arguments).compile()}


def collect(policy: Policy, batch: sft.BatchArrays, own: Any, programs: Programs) -> Collected:
    """One token after each prompt, and its reward: whether it is even."""
    state = jax.device_get(own)
    key, now = jax.random.split(jax.random.wrap_key_data(state["key"]))
    start_B = np.argmax(batch.loss_mask_BT, axis=1)
    index_T = np.arange(batch.tokens_BT.shape[1])
    is_prompt_BT = index_T[None] < start_B[:, None]
    sampled_BT = index_T[None] == start_B[:, None]
    tokens_BT = np.where(is_prompt_BT, batch.tokens_BT, 0)
    segment_ids_BT = (is_prompt_BT | sampled_BT).astype(np.int32)
    last_B = (start_B - 1).astype(np.int32)
    sample = programs[tokens_BT.shape[1]]["sample"]
    answer = sample(policy.params, policy.held, tokens_BT, segment_ids_BT, last_B, jax.random.key_data(now))
    token_B, nll_B = jax.device_get(answer)
    reward_B = np.array([float(token % 2 == 0) for token in token_B.tolist()], np.float32)
    tokens_BT = np.where(sampled_BT, token_B[:, None], tokens_BT).astype(np.int32)
    mean = state["mean"]
    made = Answers(tokens_BT, segment_ids_BT, sampled_BT, reward_B - mean, nll_B)
    lines = [{"token": int(t), "reward": float(r)} for t, r in zip(token_B, reward_B, strict=True)]
    after = {
        "key": jax.random.key_data(key),
        "mean": np.float32(0.9) * mean + np.float32(0.1) * reward_B.mean(),
    }
    return Collected(made, after, {"reward": float(reward_B.mean())}, {"rollouts.jsonl": lines})


def _weigh(batch: Answers) -> dict[str, jax.Array]:
    return {"answers": jnp.sum(batch.sampled_BT)}


def _summed(models: Models, part: Answers, scales: Scalars, scalars: Scalars) -> Summed:
    assert models.reference is not None
    given = part.tokens_BT, part.segment_ids_BT, part.sampled_BT
    nll_B = jnp.sum(each_nll(models.policy, *given), axis=1)
    reference_B = jnp.sum(each_nll(models.reference, *given), axis=1)
    ratio_B = jnp.exp(part.nll_B - nll_B)
    gain_B = jnp.minimum(ratio_B * part.advantage_B, jnp.clip(ratio_B, 0.8, 1.2) * part.advantage_B)
    log_ratio_B = reference_B - nll_B
    loss = jnp.sum(scalars["beta"] * log_ratio_B**2 - gain_B) * scales["answers"]
    count = jnp.float32(nll_B.size)
    return Summed(loss, {"log_ratio": (jnp.sum(log_ratio_B), count), "largest_ratio": jnp.max(ratio_B)})


def _real_tokens(batch: Answers) -> jax.Array:
    return jnp.sum(batch.segment_ids_BT > 0)


LOSS = Loss(weigh=_weigh, summed=_summed, real_tokens=_real_tokens, metrics=METRICS, has_reference=True)


def objective(config: ObjectiveConfig) -> Objective:
    """Answers that are rewarded become likelier, two updates a batch."""
    return Objective(
        config.name,
        LOSS,
        source=sft.Source,
        shapes=shapes,
        extent=extent,
        scalars={"beta": config.beta},
        init=init,
        collect=collect,
        updates=config.updates,
        programs=programs,
        forward_passes=1.0,
    )
