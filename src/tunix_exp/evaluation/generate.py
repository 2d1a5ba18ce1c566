"""Greedy continuations, the same for every batch size and every order of the prompts.

A matrix product's last bits depend on its number of rows: XLA picks other kernels and orders of summation
for one row than for sixteen or sixty-four, and an arg-max near a tie turns such a bit into another answer.
So every compiled call has the same number of rows, which follows from how many prompts there are, and a
prompt's padded length depends on that prompt alone. Blocks are cut from the prompts in one canonical order,
so that equal sets make equal calls, which makes equal bits; `batch_size` says how many rows are handed to the
device before the host waits for the answers.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Int

from tunix_exp.errors import NonFinite, UserError
from tunix_exp.models.architecture import LanguageModel
from tunix_exp.models.layers.cache import Room
from tunix_exp.models.layers.stack import unstacked
from tunix_exp.models.loss import first_best
from tunix_exp.models.quantize import dequantize
from tunix_exp.models.sharding import rows as rows_of_mesh
from tunix_exp.models.sharding import rows_beside

# A token's time is that of reading the weights, until there are rows enough to compute with them meanwhile:
# on two CPU cores (82M parameters, float32) 16 rows take 1.5 times the time of 8. Accelerators compute more
# with every byte. Idle rows cost as much as others.
FEWEST_ROWS = 8
MOST_ROWS = {"cpu": 16, "tpu": 64, "gpu": 64}
SHORTEST_BUCKET = 16


@dataclass(frozen=True, slots=True)
class Generation:
    """The new tokens, without the end-of-sequence, and whether that or the limit ended them."""

    tokens: tuple[int, ...]
    stop_reason: Literal["eos", "length"]


def generate(
    model: LanguageModel,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    eos_ids: tuple[int, ...],
    pad_id: int,
    batch_size: int,
    on_batch: Callable[[int], None] | None = None,
) -> list[Generation]:
    """The arg-max continuation of every prompt, in the order given.

    `on_batch(done)` is told the number of prompts answered so far, after every `batch_size` prompts
    (rounded up to whole blocks). Raises UserError, naming every such prompt, when one is empty, has a
    token outside the vocabulary, or does not fit the model together with `max_new_tokens`; and NonFinite
    when the model's logits behind one are NaN or infinite.
    """
    check_prompts(
        prompts,
        max_new_tokens=max_new_tokens,
        num_positions=model.num_positions,
        vocab_size=model.vocab_size,
    )
    graphdef, params = nnx.split(model)
    answer = partial(_answer, graphdef, params, np.asarray(eos_ids, np.int32), max_new_tokens=max_new_tokens)
    rows = block_rows([len(prompt) for prompt in prompts], jax.default_backend())
    blocks = list(_blocks(prompts, rows))
    apart = rows_beside(params, rows)
    blocks_in_flight = -(-batch_size // rows)
    generations: list[Generation | None] = [None] * len(prompts)
    done = 0
    for first in range(0, len(blocks), blocks_in_flight):
        batch = blocks[first : first + blocks_in_flight]
        # All calls are handed over before the first answer is waited for.
        arrays = [_left_padded([prompts[i] for i in block], rows, pad_id) for block in batch]
        answers = [answer(*jax.device_put(pair, apart)) for pair in arrays]
        for block, (new_RN, lengths_R, stopped_R) in zip(batch, jax.device_get(answers), strict=True):
            for row, index in enumerate(block):
                tokens = tuple(new_RN[row, : lengths_R[row]].tolist())
                if model.vocab_size in tokens:
                    raise non_finite(f"logits of prompt {index}, new token {tokens.index(model.vocab_size)},")
                generations[index] = Generation(
                    tokens=tokens,
                    stop_reason="eos" if stopped_R[row] else "length",
                )
            done += len(block)
        if on_batch is not None:
            on_batch(done)
    return [generation for generation in generations if generation is not None]


def non_finite(what: str) -> NonFinite:
    """The refusal of a model that computes NaN or infinity where it is evaluated."""
    return NonFinite(
        f"the {what} are NaN or infinite: the weights hold such numbers, or numbers overflow on the way",
        where="the model that is evaluated",
        remedy="before training, look at model.weights and adapter.weights, and try"
        " device.compute_dtype=float32; after it, lower optim.peak_lr, as the last update diverged",
    )


def bucket(length: int) -> int:
    """The padded length of a prompt of `length` tokens: powers of two and their half-way points, from 16.

    Few distinct lengths, so few compilations, at no more than a half more tokens.
    """
    size = SHORTEST_BUCKET
    while size < length:
        size = size + size // 2 if size & (size - 1) == 0 else size // 3 * 4
    return size


def block_rows(lengths: Sequence[int], platform: str) -> int:
    """The rows of every call that answers prompts of these lengths: a power of two that the fullest bucket
    fills, from FEWEST_ROWS to the platform's MOST_ROWS.
    """
    fullest = max(Counter(bucket(length) for length in lengths).values(), default=0)
    rows = FEWEST_ROWS
    while rows < min(fullest, MOST_ROWS[platform]):
        rows *= 2
    return rows


def _blocks(prompts: Sequence[Sequence[int]], rows: int) -> Iterator[list[int]]:
    """Indices of at most `rows` prompts of one bucket, shortest first, ties by their tokens."""
    order = sorted(range(len(prompts)), key=lambda i: (len(prompts[i]), tuple(prompts[i])))
    block: list[int] = []
    for index in order:
        is_full = len(block) == rows
        if block and (is_full or bucket(len(prompts[block[0]])) != bucket(len(prompts[index]))):
            yield block
            block = []
        block.append(index)
    if block:
        yield block


def _left_padded(prompts: Sequence[Sequence[int]], rows: int, pad_id: int) -> tuple[np.ndarray, np.ndarray]:
    """`rows` rows, prompts at the right end; what is missing is segment 0."""
    length = bucket(max(len(prompt) for prompt in prompts))
    tokens_RP = np.full((rows, length), pad_id, np.int32)
    segment_ids_RP = np.zeros((rows, length), np.int32)
    for row, prompt in enumerate(prompts):
        tokens_RP[row, length - len(prompt) :] = prompt
        segment_ids_RP[row, length - len(prompt) :] = 1
    return tokens_RP, segment_ids_RP


def compile_answer(
    graphdef: nnx.GraphDef,
    params: nnx.State,
    mesh: jax.sharding.Mesh,
    *,
    prompt_lengths: Sequence[int],
    n_eos: int,
    max_new_tokens: int,
) -> jax.stages.Compiled:
    """The program by which `generate` answers the longest prompts, from shapes with shardings alone."""
    # Of no device, as `generate` hands them over: else that would not be the program which it calls.
    eos_E = jax.ShapeDtypeStruct((n_eos,), jnp.int32)
    rows = block_rows(prompt_lengths, mesh.devices.flat[0].platform)
    shape = rows, bucket(max(prompt_lengths))
    apart = jax.sharding.NamedSharding(mesh, rows_of_mesh(mesh, rows))
    rows_RP = jax.ShapeDtypeStruct(shape, jnp.int32, sharding=apart)
    return _answer.lower(graphdef, params, eos_E, rows_RP, rows_RP, max_new_tokens=max_new_tokens).compile()


@partial(jax.jit, static_argnums=0, static_argnames="max_new_tokens")
def _answer(
    graphdef: nnx.GraphDef,
    params: nnx.State,
    eos_E: Int[Array, " E"],
    tokens_RP: Int[Array, "R P"],
    segment_ids_RP: Int[Array, "R P"],
    *,
    max_new_tokens: int,
) -> tuple[Int[Array, "R N"], Int[Array, " R"], Bool[Array, " R"]]:
    """New tokens, how many count, and whether the end-of-sequence came; one program for a shape.

    The graph is static and equal for equal configs, so base and trained model share the program.
    """
    decoder = _decoder(graphdef, params)
    R, P = tokens_RP.shape
    real_R = segment_ids_RP.any(axis=1)

    def best(model: LanguageModel, x_RTD: Array) -> Int[Array, " R"]:
        return first_best(model.logits(x_RTD[:, -1:])[:, 0])

    def ends(token_R: Array) -> Bool[Array, " R"]:
        return (token_R[:, None] == eos_E[None, :]).any(axis=1)

    def unfinished(carry: tuple) -> Bool[Array, ""]:
        step, stopped_R = carry[0], carry[3]
        return (step < max_new_tokens) & ~stopped_R.all()

    def decode(carry: tuple) -> tuple:
        step, token_R, position_R, stopped_R, length_R, new_RN, cache = carry
        one_R1 = jnp.ones((R, 1), jnp.int32)
        x_R1D, cache = decoder.hidden(token_R[:, None], position_R[:, None], one_R1, cache)
        token_R = best(decoder, x_R1D)
        new_RN = jax.lax.dynamic_update_slice(new_RN, token_R[:, None], (0, step))
        stopped_R |= ends(token_R)
        length_R += (~stopped_R).astype(jnp.int32)
        return step + 1, token_R, position_R + 1, stopped_R, length_R, new_RN, cache

    positions_RP = jnp.maximum(jnp.cumsum(segment_ids_RP, axis=1) - 1, 0)
    # The last new token is never fed back, so it needs no slot.
    x_RPD, cache = decoder.hidden(tokens_RP, positions_RP, segment_ids_RP, Room(P + max_new_tokens - 1))
    token_R = best(decoder, x_RPD)
    new_RN = jnp.zeros((R, max_new_tokens), jnp.int32).at[:, 0].set(token_R)
    stopped_R = ends(token_R) | ~real_R
    start = (
        jnp.asarray(1),
        token_R,
        positions_RP[:, -1] + 1,
        stopped_R,
        (~stopped_R).astype(jnp.int32),
        new_RN,
        cache,
    )
    _, _, _, stopped_R, length_R, new_RN, _ = jax.lax.while_loop(unfinished, decode, start)
    return new_RN, length_R, stopped_R


def _decoder(graphdef: nnx.GraphDef, params: nnx.State) -> LanguageModel:
    """The model as the loop reads it: layers apart, matrices in the compute dtype.

    Else every token would copy each layer out of the stack, and cast or dequantize it; the prompt is read by
    the same, as the stack cast beside them would be the model once more. Norms stay as they are: they compute
    in float32.
    """
    model: LanguageModel = nnx.merge(graphdef, params)
    model.blocks, model.layer_loop = unstacked(model.blocks), "unroll"
    dequantize(model, model.compute_dtype)
    graphdef, params = nnx.split(model)
    cast = jax.tree.map(lambda leaf: leaf.astype(model.compute_dtype) if leaf.ndim > 1 else leaf, params)
    return nnx.merge(graphdef, cast)


def check_prompts(
    prompts: Sequence[Sequence[int]], *, max_new_tokens: int, num_positions: int, vocab_size: int
) -> None:
    """A model of these sizes can answer every prompt; else a UserError that names every one it cannot."""
    limit, vocabulary = num_positions, vocab_size
    faults = []
    for index, prompt in enumerate(prompts):
        if not len(prompt):
            faults.append(f"prompt {index} is empty")
        elif len(prompt) + max_new_tokens > limit:
            faults.append(
                f"prompt {index} has {len(prompt)} tokens, with {max_new_tokens} new ones"
                f" {len(prompt) + max_new_tokens}; the model has {limit} positions"
            )
        elif min(prompt) < 0 or max(prompt) >= vocabulary:
            faults.append(
                f"prompt {index} has a token outside 0 … {vocabulary - 1}, the model's vocabulary:"
                f" {min(prompt) if min(prompt) < 0 else max(prompt)}"
            )
    if faults:
        raise UserError(
            "\n".join(faults),
            where="the prompts that evaluation renders",
            remedy="lower eval.max_new_tokens, shorten the items or the template, or name the model's own"
            " tokenizer in model.tokenizer",
        )
