"""What a training step takes on one device, by arithmetic on shapes, and what would take less."""

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import AbstractMesh, Mesh

from tunix_exp.device.config import DeviceConfig
from tunix_exp.device.plan import Parts, Remedy, Work, device_bytes
from tunix_exp.models import lora, sharding
from tunix_exp.models.adapter import AdapterConfig, LoRAConfig, NoAdapterConfig, base_dtype
from tunix_exp.models.architecture import abstract
from tunix_exp.models.chunks import chunk_size
from tunix_exp.models.config import ModelConfig
from tunix_exp.models.digest import number_count, parameter_count
from tunix_exp.models.families.family import Dimensions
from tunix_exp.models.families.registry import family_of
from tunix_exp.models.kernels import Kernel
from tunix_exp.models.loss_chunk import LOGIT_BYTES, LossChunk
from tunix_exp.models.paths import path_of
from tunix_exp.models.quantize import quantized_shapes
from tunix_exp.objectives.objective import Batch, Held, Objective
from tunix_exp.training import optim
from tunix_exp.training.config import AdafactorConfig, OptimConfig
from tunix_exp.training.step import abstract_arguments, step_scalars

_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}

# The shipped options (conf/adapter/lora.yaml, conf/optim/adafactor.yaml), as far as they decide the size.
_LORA = LoRAConfig(
    name="lora",
    weights="random",
    rank=8,
    alpha=16.0,
    scaling="lora",
    dropout=0.0,
    targets=("attention",),
    merge_for_eval=False,
)
_ADAFACTOR = {
    "name": "adafactor",
    "decay_rate": 0.8,
    "min_dim_size_to_factor": 128,
    "clipping_threshold": 1.0,
    "eps": 1e-30,
}


@dataclass(frozen=True)
class Footprint:
    """One step's memory on a device, and its work."""

    parts: Parts
    work: Work


@dataclass(frozen=True)
class Setting:
    """All that decides what a step takes; a remedy is another one."""

    model: ModelConfig
    adapter: AdapterConfig
    optim: OptimConfig
    device: DeviceConfig
    mesh: Mesh | AbstractMesh
    attention: Kernel
    objective: Objective
    batch_size: int
    max_tokens: int
    loss_chunk: LossChunk
    stages: tuple[int, ...] = ()

    @cached_property
    def batch(self) -> Batch:
        """The shapes of a batch as it is learnt from."""
        return self.objective.shapes(self.batch_size, self.max_tokens)

    @property
    def width(self) -> int:
        """The tokens of a row as the model sees it."""
        return self.objective.extent(self.batch)[1]

    @cached_property
    def arguments(self) -> tuple[nnx.GraphDef[Any], Any]:
        """The model's graph, and its step's state, batch, scalars and what is held, as placed shapes."""
        model = self._shapes()
        model.attention_kernel, model.loss_chunk = self.attention, self.loss_chunk
        graphdef, trained, frozen = lora.split(model)
        objective = self.objective
        return graphdef, abstract_arguments(
            optim.structure(self.optim),
            trained,
            self.batch,
            step_scalars(
                self.optim, self.adapter, objective.scalars, total_steps=1, seed=0, stages=self.stages
            ),
            mesh=self.mesh,  # pyright: ignore[reportArgumentType]
            state_dtype=self.device.state_dtype,
            held=Held(frozen, objective.kept(trained, frozen)),
            own=jax.eval_shape(objective.init, 0),
        )

    def answering(self) -> tuple[nnx.GraphDef[Any], Any]:
        """Graph and parameters, as placed shapes, of the model as it is evaluated."""
        model = nnx.eval_shape(lambda model: lora.for_evaluation(model, self.adapter), self._shapes())
        graphdef, params = nnx.split(model)
        return graphdef, sharding.placed_shapes(params, self.mesh)  # pyright: ignore[reportArgumentType]

    def _shapes(self) -> Any:
        model = abstract(
            self.model,
            param_dtype=base_dtype(self.model, self.adapter, self.device.param_dtype),
            compute_dtype=self.device.compute_dtype,
        )
        model = quantized_shapes(model, self.model)
        return lora.attached_shapes(model, self.adapter, family=self.model.family)


def footprint(setting: Setting) -> Footprint:
    """Memory and work of a step on one device.

    Parameters (frozen ones too), optimizer state and batch are counted from their shardings. The rest is
    arithmetic, fitted to what the TPU compiler does (docs/tpu-fit.md); B is rows of a device, N, F, V are its
    share of heads, hidden units and vocabulary, c the bytes of the compute dtype:

    - saved: L·B·T·D·c block inputs; with remat `dots` also each product with weights, with `none` all else;
    - block: one block's weights whole (of kinds that come round under a scan those of a round, with their
      gradients in float32), and of each row what takes more, attention (2·4·N·T² of the einsum's
      logits + 3·T·F·c hidden units), the MLP (5½·T·F·c) or a recurrence (4·T a number), + 4·T a channel of
      its norms behind products, of those on queries and keys twice;
    - loss: logits and their gradient, 2·4 bytes each, and the table in the compute dtype; it comes before the
      blocks' gradients.
    """
    _, (state, batch, _, held) = setting.arguments
    model, sizes, compute_dtype = setting.model, setting.mesh.shape, setting.device.compute_dtype
    compute_bytes = _BYTES[compute_dtype]
    is_cast = compute_dtype != base_dtype(model, setting.adapter, setting.device.param_dtype)
    parts_of_batch = setting.optim.accumulation_steps
    shards = sizes["data"] * sizes["fsdp"]
    batch_rows, T = setting.objective.extent(batch)
    rows_at_once = batch_rows // parts_of_batch
    rows = rows_at_once // shards if rows_at_once % shards == 0 else rows_at_once
    trained, parameters = device_bytes(state.params), device_bytes((state.params, held))
    in_blocks = device_bytes(_of_blocks(state.params))
    block_count = _block_count(held.frozen or state.params)
    dims = family_of(model).dimensions(model)

    def share(size: int) -> float:
        return size / sizes["tensor"] if size % sizes["tensor"] == 0 else size

    D, L = model.width, model.num_layers
    # Only the einsum writes its attention logits to memory.
    logits = 4 * share(dims.heads) * T * T if setting.attention == "einsum" else 0
    hidden = T * share(model.mlp_width) * compute_bytes
    stream = T * D * compute_bytes
    projections = T * share(dims.projected) * compute_bytes
    recurrence = 4 * T * share(dims.recurrence)
    saved = {
        "block": stream,
        "dots": stream + projections + dims.hidden_products * hidden + 2 * stream,
        "none": dims.attending * logits
        + (1 - dims.attending) * recurrence
        + 4 * stream
        + projections
        + (dims.hidden_products + 2) * hidden,
    }[model.remat]
    block_weights = block_count / L / sizes["tensor"] * compute_bytes
    if model.layer_loop == "scan" and dims.kinds > 1:
        block_weights *= dims.kinds * (1 if held.frozen else 1 + 4 / compute_bytes)
    # Without remat one copy of the attention logits is among what is saved.
    copies = 1 if model.remat == "none" else 2
    at_work = max(copies * logits + 3 * hidden, 5.5 * hidden, recurrence)
    block = rows * (at_work + 4 * T * dims.late_norms) + (block_weights if sizes["fsdp"] > 1 else 0)
    V = model.vocab_size
    split_over = shards if rows_at_once % shards == 0 else 1
    chunk_tokens = split_over * chunk_size(rows_at_once * T // split_over, setting.loss_chunk.tokens)
    loss = LOGIT_BYTES * chunk_tokens * V / math.prod(sizes.values())
    splits = V % (sizes["fsdp"] * sizes["tensor"]) == 0
    if not splits or is_cast:
        loss += V * D * compute_bytes / (sizes["fsdp"] * sizes["tensor"] if splits else 1)
    others = [
        leaf
        for keys, leaf in jax.tree_util.tree_leaves_with_path((state.params, held))
        if leaf.dtype != compute_dtype and not _is_quantized(path_of(keys), leaf)
    ]
    cast = _device_size(others) * compute_bytes
    return Footprint(
        Parts(
            parameters=parameters,
            # of the slices there is also a sum, in float32
            gradients=trained - in_blocks + (0 if parts_of_batch == 1 else 4 * _device_size(state.params)),
            block_gradients=in_blocks,
            optimizer_state=device_bytes(state.opt_state),
            compute_weights=cast,
            saved_activations=round(L * rows * saved),
            block=round(block),
            loss=round(loss),
            batch=device_bytes(batch) + setting.objective.held_bytes(batch_rows, T),
        ),
        _work(
            setting,
            dims,
            state_bytes=trained + device_bytes(state.opt_state),
            block_count=block_count,
            adapter_count=parameter_count(state.params) if held.frozen else 0,
        ),
    )


def remedies(setting: Setting, memory_bytes: int) -> list[Remedy]:
    """Three changes by which the step takes less: those that fit before others, the cheapest first.

    First comes an adapter, which takes least; then what leaves the update as it is, what changes the
    optimizer, and what the model sees.
    """
    ways = [Remedy(words, costs, footprint(other).parts.total) for words, costs, other in _ways(setting)]
    now = footprint(setting).parts.total
    helpful = [way for way in ways if way.total_bytes < now]
    fitting = [way for way in helpful if way.total_bytes <= memory_bytes]
    others = sorted((w for w in helpful if w not in fitting), key=lambda way: way.total_bytes)
    return (fitting + others)[:3]


def _ways(setting: Setting) -> list[tuple[str, str, Setting]]:
    """Words of the command line, their price, and the setting they make; the cheapest first."""
    ways = []
    model, rule, shape = setting.model, setting.optim, setting.mesh.shape
    if isinstance(setting.adapter, NoAdapterConfig):
        ways.append(("adapter=lora", "an adapter alone is trained", replace(setting, adapter=_LORA)))
    if model.remat != "block":
        other = model.model_copy(update={"remat": "block"})
        ways.append(("model.remat=block", "a third more compute", replace(setting, model=other)))
    parts, devices = rule.accumulation_steps, math.prod(shape.values())
    most = setting.batch_size // (shape["data"] * shape["fsdp"])
    while parts * 2 <= most and setting.batch_size % (parts * 2) == 0:
        parts *= 2
    if parts > rule.accumulation_steps:
        other = rule.model_copy(update={"accumulation_steps": parts})
        words = f"optim.accumulation_steps={parts}"
        ways.append((words, "the same update in smaller parts", replace(setting, optim=other)))
    if shape["data"] > 1:
        sizes = (1, shape["data"] * shape["fsdp"], shape["tensor"])
        words = "device.mesh.data=1 device.mesh.fsdp=rest"
        ways.append((words, "parameters apart too", replace(setting, mesh=_mesh(sizes))))
    if devices < 8 and setting.device.platform == "tpu":
        words = "device=tpu-v5e-8"
        ways.append(
            (words, "eight chips, the state split over them", replace(setting, mesh=_mesh((1, 8, 1))))
        )
    if rule.name != "adafactor":
        plain = rule.model_dump(include=set(AdafactorConfig.model_fields) - {"name"})
        other = AdafactorConfig.model_validate({**plain, **_ADAFACTOR})
        ways.append(("optim=adafactor", "another optimizer", replace(setting, optim=other)))
    if setting.batch_size % (2 * rule.accumulation_steps) == 0:
        half = setting.batch_size // 2
        ways.append((f"training.batch_size={half}", "a smaller batch", replace(setting, batch_size=half)))
    if setting.max_tokens > 1:
        half = setting.max_tokens // 2
        ways.append((f"data.max_tokens={half}", "shorter examples", replace(setting, max_tokens=half)))
    return ways


def _work(
    setting: Setting, dims: Dimensions, *, state_bytes: int, block_count: int, adapter_count: int
) -> Work:
    """Operations and bytes of one device in one step, over all tokens of the batch, padding included.

    Per token a forward pass takes 2 operations a weight of the blocks and of the unembedding, and
    4·T·N·H a layer with attention, which computes all T² pairs; a backward pass takes twice that, or as much
    again where a weight is frozen and needs no gradient. That is what the model asks for (PaLM, appendix B).
    Done besides: the forward pass of the blocks (remat) a second time.

    A reference, and what else an objective computes of the batch, are forward passes besides.

    Bytes: trained parameters and optimizer state read and written, gradients written and read, a block's
    weights read in every pass, and every pass the attention logits (float32) twice, the hidden units twice,
    the stream six times, a recurrence's numbers once, and the logits of the loss twice.
    """
    model, sizes = setting.model, setting.mesh.shape
    devices = math.prod(sizes.values())
    objective = setting.objective
    rows, T = objective.extent(setting.batch)
    tokens = rows * T / devices
    attention = 4 * T * dims.heads * dims.head_width * dims.attending * model.num_layers
    unembedding = 2 * model.vocab_size * model.width
    weights = 2 * block_count + unembedding
    asked = (2 if adapter_count else 3) * weights + 3 * (attention + 2 * adapter_count)
    asked += (objective.loss.has_reference + objective.forward_passes) * (weights + attention)
    again = 2 * (block_count + adapter_count) + attention if model.remat != "none" else 0
    compute_bytes = _BYTES[setting.device.compute_dtype]
    passes = 3 if model.remat == "none" else 4
    per_token = 2 * 4 * dims.heads * T * dims.attending * (setting.attention == "einsum")
    per_token += 4 * dims.recurrence * (1 - dims.attending)
    per_token += compute_bytes * (2 * dims.hidden_products * model.mlp_width + 6 * model.width)
    moved = passes * model.num_layers * per_token + 3 * 2 * 4 * model.vocab_size
    read = passes * block_count / sizes["tensor"] * compute_bytes * setting.optim.accumulation_steps
    return Work(
        model_flops=asked * tokens,
        flops=(asked + again) * tokens,
        hbm_bytes=2 * 2 * state_bytes + read + moved * tokens,
    )


def _device_size(tree: Any) -> int:
    """How many numbers of the tree lie on one device."""
    return sum(device_bytes(leaf) // leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def _is_quantized(path: str, leaf: Any) -> bool:
    return path.endswith("/scales") or not jnp.issubdtype(leaf.dtype, jnp.floating)


def _block_count(params: Any) -> int:
    """How many numbers of the model the blocks hold, over all devices."""
    leaves = ((path_of(k), leaf) for k, leaf in jax.tree_util.tree_leaves_with_path(params))
    return sum(number_count(path, leaf) for path, leaf in leaves if path.startswith("blocks/"))


def _of_blocks(params: Any) -> list[Any]:
    """The parameters that the blocks hold."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return [leaf for keys, leaf in leaves if path_of(keys).startswith("blocks/")]


def _mesh(sizes: tuple[int, int, int]) -> AbstractMesh:
    return AbstractMesh(sizes, ("data", "fsdp", "tensor"))
