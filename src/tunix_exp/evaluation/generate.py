"""Greedy continuations, the same for every batch size and every order of the prompts.

A matrix product's last bits depend on its number of rows: XLA picks other kernels and orders of summation
for one row than for sixteen or sixty-four, and an arg-max near a tie turns such a bit into another answer.
So every compiled call has the same number of rows, which follows from how many prompts there are, and a
prompt's padded length depends on that prompt alone. Prompts of one padded length wait in one canonical order
for rows to end (`decode.py`), so that equal sets make equal calls, which makes equal bits; `batch_size` says
how many are handed to the device before the host waits for answers.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh, NamedSharding

from tunix_exp.device.plan import device_bytes
from tunix_exp.errors import NonFinite, UserError
from tunix_exp.evaluation.decode import (
    Answers,
    Prompts,
    Told,
    compile_nothing,
    no_answers,
    nothing,
    one_round,
)
from tunix_exp.evaluation.rounds import Rows, bucket, queues, rounds_of, rows_of
from tunix_exp.evaluation.unpacked import unpacked, unpacked_shapes
from tunix_exp.models.architecture import LanguageModel
from tunix_exp.models.hosts import gathered, put
from tunix_exp.models.sharding import mesh_of, rows_beside
from tunix_exp.models.sharding import rows as rows_of_mesh


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

    `on_batch(done)` is told how many prompts are answered whenever the host has waited for some. Raises
    UserError, naming every such prompt, when one is empty, has a token outside the vocabulary, or does not
    fit the model together with `max_new_tokens`; and NonFinite when the model's logits behind one are NaN or
    infinite.
    """
    check_prompts(
        prompts,
        max_new_tokens=max_new_tokens,
        num_positions=model.num_positions,
        vocab_size=model.vocab_size,
    )
    graphdef, held = nnx.split(model)
    mesh, eos_E = mesh_of(held), np.asarray(eos_ids, np.int32)
    rows = rows_of([len(prompt) for prompt in prompts], jax.default_backend(), mesh)
    graphdef_read, shapes, _ = unpacked_shapes(graphdef, held)
    programs = {
        width: _program(
            graphdef_read, shapes, mesh, rows, width=width, n_eos=len(eos_ids), max_new_tokens=max_new_tokens
        )
        for width in sorted({bucket(len(prompt)) for prompt in prompts})
    }
    # Only now: what the compiler took is free again before weights are made beside those that are held.
    params, apart = unpacked(graphdef, held), rows_beside(held, rows.read)
    generations: dict[int, Generation] = {}
    for queue in queues(prompts):
        rounds = list(rounds_of(prompts, queue, rows.read, pad_id))
        program, empty = programs[rounds[0].tokens_QP.shape[1]]
        answers, told = None if empty is None else nothing(empty), []
        for number, asked in enumerate(rounds, start=1):
            enough = np.int32(rows.answered if asked is rounds[-1] else rows.read)
            answers, one = program(params, answers, eos_E, put(asked, apart), enough)
            told.append(one)
            if number * rows.read % batch_size < rows.read or number == len(rounds):
                before = len(generations)
                for one in gathered(told):
                    generations |= dict(_ended(one, model.vocab_size))
                told.clear()
                if on_batch is not None and len(generations) > before:
                    on_batch(len(generations))
    return [generations[index] for index in range(len(prompts))]


def _ended(told: Told, vocab_size: int) -> Iterator[tuple[int, Generation]]:
    """The answers that a round completed, or an earlier one, by the index of their prompts."""
    for row in np.flatnonzero(~told.is_open_R & (told.number_R > 0)).tolist():
        index, count = int(told.number_R[row]) - 1, int(told.count_R[row])
        tokens = tuple(told.new_RN[row, :count].tolist())
        if vocab_size in tokens:
            raise non_finite(f"logits of prompt {index}, new token {tokens.index(vocab_size)},")
        yield index, Generation(tokens, "length" if count == told.new_RN.shape[1] else "eos")


def non_finite(what: str) -> NonFinite:
    """The refusal of a model that computes NaN or infinity where it is evaluated."""
    return NonFinite(
        f"the {what} are NaN or infinite: the weights hold such numbers, or numbers overflow on the way",
        where="the model that is evaluated",
        remedy="before training, look at model.weights and adapter.weights, and try"
        " device.compute_dtype=float32; after it, lower optim.peak_lr, as the last update diverged",
    )


def compile_answer(
    graphdef: nnx.GraphDef,
    params: nnx.State,
    mesh: Mesh,
    *,
    prompt_lengths: Sequence[int],
    n_eos: int,
    max_new_tokens: int,
) -> tuple[jax.stages.Compiled, int]:
    """The program by which `generate` answers the longest prompts, from shapes with shardings alone; and the
    bytes of a device that the weights take beside those which it reads.
    """
    graphdef, params, beside = unpacked_shapes(graphdef, params)
    rows = rows_of(prompt_lengths, mesh.devices.flat[0].platform, mesh)
    width = bucket(max(prompt_lengths))
    program, empty = _program(
        graphdef, params, mesh, rows, width=width, n_eos=n_eos, max_new_tokens=max_new_tokens
    )
    if empty is not None:
        compile_nothing(empty)
    return program, device_bytes(beside)


def _program(
    graphdef: nnx.GraphDef[Any],
    params: nnx.State,
    mesh: Mesh | None,
    rows: Rows,
    *,
    width: int,
    n_eos: int,
    max_new_tokens: int,
) -> tuple[Any, Answers | None]:
    """The compiled round for prompts of `width`, and the shapes of rows without prompts, if it begins with
    some; of shapes with shardings.
    """
    leaves, treedef = jax.tree.flatten(params)
    return _compiled(graphdef, treedef, tuple(leaves), mesh, rows, width, n_eos, max_new_tokens)


@lru_cache(maxsize=64)
def _compiled(
    graphdef: nnx.GraphDef[Any],
    treedef: Any,
    leaves: tuple[jax.ShapeDtypeStruct, ...],
    mesh: Mesh | None,
    rows: Rows,
    width: int,
    n_eos: int,
    max_new_tokens: int,
) -> tuple[Any, Answers | None]:
    params: nnx.State = jax.tree.unflatten(treedef, leaves)
    apart = None if mesh is None else NamedSharding(mesh, rows_of_mesh(mesh, rows.read))
    asked = Prompts(
        *(
            jax.ShapeDtypeStruct(shape, jnp.int32, sharding=apart)
            for shape in ((rows.read, width), (rows.read,), (rows.read,))
        )
    )
    # Of no device, as `generate` hands them over.
    eos_E, enough = (jax.ShapeDtypeStruct(shape, jnp.int32) for shape in ((n_eos,), ()))
    empty = None
    if rows.read < rows.answered:
        empty = no_answers(graphdef, params, eos_E, asked, rows=rows.answered, max_new_tokens=max_new_tokens)
    lowered = one_round.lower(
        graphdef, params, empty, eos_E, asked, enough, max_new_tokens=max_new_tokens, mesh=mesh
    )
    return lowered.compile(), empty


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
