"""What answering and held-out losses take on one device: by arithmetic on shapes, and by the compiler's word.

Evaluation holds no gradients and no optimizer state, and attends by the einsum: a model may fit for it that
does not fit for training.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh

from tunix_exp.device.config import DeviceConfig
from tunix_exp.device.plan import EvaluationParts, Remedy, device_bytes
from tunix_exp.evaluation.evaluate import HELDOUT_ROWS, compile_losses
from tunix_exp.evaluation.generate import compile_answer
from tunix_exp.evaluation.rounds import bucket, rows_of
from tunix_exp.models import lora, sharding
from tunix_exp.models.adapter import AdapterConfig, NoAdapterConfig, base_dtype
from tunix_exp.models.architecture import abstract
from tunix_exp.models.chunks import chunk_size
from tunix_exp.models.config import ModelConfig
from tunix_exp.models.digest import number_count
from tunix_exp.models.families.registry import family_of
from tunix_exp.models.layers.decoder import Decoder
from tunix_exp.models.loss_chunk import LossChunk
from tunix_exp.models.paths import is_stacked, path_of
from tunix_exp.models.quantize import quantized_shapes


@dataclass(frozen=True)
class Asked:
    """What decides the shapes of an evaluation: prompts, answers, and the widest row of the losses."""

    prompt_lengths: tuple[int, ...]
    max_new_tokens: int
    n_eos: int
    heldout_tokens: int


@dataclass(frozen=True)
class Setting:
    """All that decides what an evaluation takes; where nobody knows what will be asked, `asked` is `None`."""

    model: ModelConfig
    adapter: AdapterConfig
    device: DeviceConfig
    mesh: Mesh
    asked: Asked | None
    loss_chunk: LossChunk

    @cached_property
    def loaded(self) -> Decoder:
        """The model as it is loaded, of shapes alone."""
        model = abstract(
            self.model,
            param_dtype=base_dtype(self.model, self.adapter, self.device.param_dtype),
            compute_dtype=self.device.compute_dtype,
        )
        model.loss_chunk = self.loss_chunk
        model = quantized_shapes(model, self.model)
        return lora.attached_shapes(model, self.adapter, family=self.model.family)

    @cached_property
    def evaluated(self) -> tuple[nnx.GraphDef[Any], nnx.State]:
        """Graph and parameters, as placed shapes, of the model as it answers."""
        model = nnx.eval_shape(lambda model: lora.for_evaluation(model, self.adapter), self.loaded)
        graphdef, params = nnx.split(model)
        return graphdef, sharding.placed_shapes(params, self.mesh)

    def compiled(self) -> dict[str, tuple[jax.stages.Compiled, int]]:
        """The programs for the longest prompts and the widest rows, and the bytes of weights that each leaves
        beside those it reads; none where nobody knows what will be asked.
        """
        if self.asked is None:
            return {}
        graphdef, params = self.evaluated
        answer = compile_answer(
            graphdef,
            params,
            self.mesh,
            prompt_lengths=self.asked.prompt_lengths,
            n_eos=self.asked.n_eos,
            max_new_tokens=self.asked.max_new_tokens,
        )
        losses = compile_losses(graphdef, params, self.mesh, width=self.asked.heldout_tokens)
        return {"answer": answer, "losses": (losses, 0)}


def footprint(setting: Setting) -> EvaluationParts:
    """What an evaluation holds on one device.

    Parameters are counted from their shardings, the cache from the slots that each layer keeps; the rest is
    arithmetic of the larger of the two programs: of a row the attention logits of one block twice, three
    times its hidden units (or a recurrence's numbers, if they are more), four times its stream, and the
    logits of the last places, or of one chunk.
    """
    model, asked = setting.loaded, setting.asked
    _, params = setting.evaluated
    parts = EvaluationParts(
        parameters=device_bytes(params),
        held_beside=_held_beside(setting),
        compute_weights=_compute_weights(params, model.compute_dtype),
        cache=0,
        block=0,
        logits=0,
        batch=0,
    )
    if asked is None:
        return parts
    config, compute_bytes, mesh = setting.model, model.compute_dtype.itemsize, setting.mesh
    family = family_of(config)
    rows = rows_of(asked.prompt_lengths, mesh.devices.flat[0].platform, mesh)
    answer_rows, read_rows, heldout_rows = (
        sharding.rows_of_device(mesh, count) for count in (*rows, HELDOUT_ROWS)
    )
    prompt = bucket(max(asked.prompt_lengths))
    slots = prompt + asked.max_new_tokens - 1

    def block(rows: int, tokens: int) -> int:
        logits = 2 * 4 * config.num_heads * tokens**2
        at_work = max(3 * config.mlp_width * compute_bytes, 4 * family.dimensions(config).recurrence)
        return rows * (logits + tokens * (at_work + 4 * config.width * compute_bytes))

    chunk = chunk_size(heldout_rows * asked.heldout_tokens, setting.loss_chunk.tokens)
    return replace(
        parts,
        cache=(answer_rows + read_rows) * family.cache_bytes(config, slots, compute_bytes),
        block=max(block(read_rows, prompt), block(heldout_rows, asked.heldout_tokens)),
        logits=4 * config.vocab_size * max(answer_rows, chunk),
        batch=2 * 4 * read_rows * prompt,
    )


def remedies(setting: Setting, memory_bytes: int) -> list[Remedy]:
    """Up to three changes by which the evaluation takes less: those that fit before others."""
    now = footprint(setting).total
    ways = [
        Remedy(words, costs, footprint(other).total)
        for words, costs, other in _ways(setting)
        if footprint(other).total < now
    ]
    return sorted(ways, key=lambda way: way.total_bytes > memory_bytes)[:3]


def _ways(setting: Setting) -> list[tuple[str, str, Setting]]:
    ways, device, asked = [], setting.device, setting.asked
    for key in ("compute_dtype", "param_dtype"):
        is_frozen = key == "param_dtype" and not isinstance(setting.adapter, NoAdapterConfig)
        if getattr(device, key) == "float32" and not is_frozen:
            other = device.model_copy(update={key: "bfloat16"})
            ways.append((f"device.{key}=bfloat16", "half the digits", replace(setting, device=other)))
    if asked is not None and asked.max_new_tokens > 1:
        half = asked.max_new_tokens // 2
        other = replace(setting, asked=replace(asked, max_new_tokens=half))
        ways.append((f"eval.max_new_tokens={half}", "shorter answers", other))
    return ways


def _held_beside(setting: Setting) -> int:
    """What was merged stays beside what came of it: the model is evaluated again, or exported, as it was."""
    _, evaluated = setting.evaluated
    kept = {path_of(keys) for keys, _ in jax.tree_util.tree_leaves_with_path(evaluated)}
    loaded = sharding.placed_shapes(nnx.state(setting.loaded, nnx.Param), setting.mesh)
    leaves = {path_of(keys): leaf for keys, leaf in jax.tree_util.tree_leaves_with_path(loaded)}
    merged = set(lora.adapters(setting.loaded)) if not any("/lora/" in path for path in kept) else set()
    return sum(device_bytes(leaf) for path, leaf in leaves.items() if path not in kept or path in merged)


def _compute_weights(params: nnx.State, compute_dtype: Any) -> int:
    """The matrices as the answer's loop reads them: copies, where they are stacked or of another dtype."""
    return sum(
        device_bytes(jax.ShapeDtypeStruct(leaf.shape, compute_dtype, sharding=leaf.sharding))
        * (number_count(path_of(keys), leaf) // leaf.size)
        for keys, leaf in jax.tree_util.tree_leaves_with_path(params)
        if leaf.ndim > 1 and (is_stacked(path_of(keys)) or leaf.dtype != jnp.dtype(compute_dtype))
    )
