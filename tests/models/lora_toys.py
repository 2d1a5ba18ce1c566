"""Adapters beside the toy models, made anew for every caller."""

import jax
import jax.numpy as jnp
from flax import nnx

from tests.models.families.gemma.toys import gemma_config, gemma_model
from tests.models.families.llama.toys import llama_config, llama_model
from tests.models.families.recurrent_gemma.toys import recurrent_config, recurrent_model
from tests.models.toys import toy_model
from tunix_exp.models import lora
from tunix_exp.models.adapter import LoRAConfig
from tunix_exp.models.config import GroupedConfig
from tunix_exp.models.layers.decoder import Decoder


def lora_config(**changes) -> LoRAConfig:
    fields = {
        "name": "lora",
        "weights": "random",
        "rank": 4,
        "alpha": 6.0,
        "scaling": "lora",
        "dropout": 0.0,
        "targets": ("attention",),
        "merge_for_eval": False,
    }
    return LoRAConfig(**(fields | changes))


def grouped_config(family: str, **changes) -> GroupedConfig:
    """The toy's of the family, of those with grouped queries."""
    if family == "recurrent_gemma":
        return recurrent_config(**changes)
    return (gemma_config if family.startswith("gemma") else llama_config)(family, **changes)


def toy_of(family: str, **changes) -> Decoder:
    """The toy model of the family."""
    if family in ("gpt2", "recurrent_gemma"):
        return (toy_model if family == "gpt2" else recurrent_model)(**changes)
    return (gemma_model if family.startswith("gemma") else llama_model)(family, **changes)


def adapted(
    family: str = "gpt2", config: LoRAConfig | None = None, *, seed: int = 0, is_new=False, **changes
):
    """A toy model with an adapter, whose B is not zero as it is in a new one."""
    model = nnx.clone(toy_of(family, **changes))
    lora.attach(model, config or lora_config(), family=family, seed=seed)
    if not is_new:
        graphdef, trained, frozen = lora.split(model)
        leaves, treedef = jax.tree.flatten(trained)
        keys = jax.random.split(jax.random.key(7), len(leaves))
        drawn = [0.3 * jax.random.normal(key, leaf.shape) for key, leaf in zip(keys, leaves, strict=True)]
        model = nnx.merge(graphdef, jax.tree.unflatten(treedef, drawn), *frozen)
    return model


def logits_of(model, tokens_BT) -> jnp.ndarray:
    """Of rows without padding; compiled, as a model is wherever it is used."""
    graphdef, params = nnx.split(model)

    @jax.jit
    def compute(params):
        model, ones_BT = nnx.merge(graphdef, params), jnp.ones_like(tokens_BT)
        positions_BT = jnp.broadcast_to(jnp.arange(tokens_BT.shape[1]), tokens_BT.shape)
        return model.logits(model.hidden(tokens_BT, positions_BT, ones_BT)[0])

    return compute(params)
