"""The device's part of generation: rows that have ended make room for the prompts that wait.

One program, called again and again, does a round: it reads a few prompts, gives them rows that have ended,
and then adds to every row one token after another until as many have ended as the next prompts need; with no
prompt left, until all have. Which rows those are is decided on the device, so that the host hands over one
round behind another and waits for none.

What a row gets does not depend on the others. Prompts are read apart from the tokens that follow, both by
products whose number of rows never changes, and what a row keeps lies where its own length says.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Int

from tunix_exp.models.architecture import LanguageModel
from tunix_exp.models.layers.cache import Cache, Room
from tunix_exp.models.loss import first_best
from tunix_exp.models.sharding import kept_shardings, mesh_of, placed


class Prompts(NamedTuple):
    """Those of a round, each at the right end of its row, and numbered from 1; a row without one has 0."""

    tokens_QP: Any
    length_Q: Any
    number_Q: Any


class Told(NamedTuple):
    """What the host gets of a round: of every row its prompt's number, its new tokens and how many of them
    count, and whether more will come.
    """

    number_R: Any
    new_RN: Any
    count_R: Any
    is_open_R: Any


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Answers:
    """The rows at work; every leaf has them first, and where all are zero no row has a prompt."""

    number_R: Int[Array, " R"]
    new_RN: Int[Array, "R N"]
    count_R: Int[Array, " R"]
    is_open_R: Bool[Array, " R"]
    last_R: Int[Array, " R"]  # the last token
    position_R: Int[Array, " R"]  # where that stands in its prompt and answer
    cache: Cache

    def with_next(self, token_R: Int[Array, " R"], cache: Cache, eos_E: Int[Array, " E"]) -> "Answers":
        """The same with the token that follows, which counts where a row is open and it ends none."""
        counts_R = self.is_open_R & ~(token_R[:, None] == eos_E[None, :]).any(axis=1)
        at_RN = jnp.arange(self.new_RN.shape[1])[None, :] == self.count_R[:, None]
        count_R = self.count_R + counts_R.astype(jnp.int32)
        return Answers(
            number_R=self.number_R,
            new_RN=jnp.where(at_RN & counts_R[:, None], token_R[:, None], self.new_RN),
            count_R=count_R,
            is_open_R=counts_R & (count_R < self.new_RN.shape[1]),
            last_R=token_R,
            position_R=self.position_R + 1,
            cache=cache,
        )

    def with_fresh(self, fresh: "Answers") -> "Answers":
        """The same with the rows of `fresh` in the place of the first that are not open.

        They are replaced as a whole: what a row kept may be no number, which no mask makes zero.
        """
        rank_R = jnp.cumsum(~self.is_open_R) - 1
        count = fresh.last_R.shape[0]
        is_fresh_R = ~self.is_open_R & (rank_R < count)
        source_R = jnp.clip(rank_R, 0, count - 1)

        def chosen(old_R: Array, new_Q: Array) -> Array:
            return jnp.where(is_fresh_R.reshape(-1, *[1] * (old_R.ndim - 1)), new_Q[source_R], old_R)

        return jax.tree.map(chosen, self, fresh)


def no_answers(
    graphdef: nnx.GraphDef, params: nnx.State, eos_E: Any, prompts: Prompts, *, rows: int, max_new_tokens: int
) -> Answers:
    """The shapes of `rows` rows for prompts of these shapes, where a model of these parameters has them."""
    read: Any = _begun.eval_shape(graphdef, params, eos_E, prompts, max_new_tokens=max_new_tokens)
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((rows, *leaf.shape[1:]), leaf.dtype), read)
    mesh = mesh_of(params)
    return shapes if mesh is None else placed(shapes, kept_shardings(shapes, mesh))


def nothing(shapes: Answers) -> Answers:
    """Rows of these shapes without prompts."""
    leaves, treedef = jax.tree.flatten(shapes)
    return _zeros(tuple(leaves), treedef)


def compile_nothing(shapes: Answers) -> None:
    """`nothing` of these shapes compiles no more."""
    leaves, treedef = jax.tree.flatten(shapes)
    _zeros.lower(tuple(leaves), treedef).compile()


@partial(jax.jit, static_argnums=0, static_argnames=("max_new_tokens", "mesh"), donate_argnums=2)
def one_round(
    graphdef: nnx.GraphDef,
    params: nnx.State,
    answers: Answers | None,
    eos_E: Int[Array, " E"],
    prompts: Prompts,
    enough: Int[Array, ""],
    *,
    max_new_tokens: int,
    mesh: Mesh | None,
) -> tuple[Answers, Told]:
    """`answers` with `prompts` in rows that were not open, and tokens added until `enough` rows are not.

    Without answers the rows are those of the prompts. The graph is static and equal for equal configs, so
    base and trained model share the program.
    """
    model: LanguageModel = nnx.merge(graphdef, params)

    def where_they_lie(answers: Answers) -> Answers:
        shardings = None if mesh is None else kept_shardings(answers, mesh)
        return answers if shardings is None else jax.lax.with_sharding_constraint(answers, shardings)

    def goes_on(answers: Answers) -> Bool[Array, ""]:
        return (~answers.is_open_R).sum() < enough

    def decode(answers: Answers) -> Answers:
        last_R1, position_R1 = answers.last_R[:, None], answers.position_R[:, None]
        one_R1 = jnp.ones_like(last_R1)
        return answers.with_next(*_best(model, last_R1, position_R1, one_R1, answers.cache), eos_E)

    fresh = _begun(graphdef, params, eos_E, prompts, max_new_tokens=max_new_tokens)
    begun = where_they_lie(fresh) if answers is None else answers.with_fresh(fresh)
    answers = jax.lax.while_loop(goes_on, decode, begun)
    told = Told(answers.number_R, answers.new_RN, answers.count_R, answers.is_open_R)
    return where_they_lie(answers), told


@partial(jax.jit, static_argnums=0, static_argnames="max_new_tokens")
def _begun(
    graphdef: nnx.GraphDef,
    params: nnx.State,
    eos_E: Int[Array, " E"],
    prompts: Prompts,
    *,
    max_new_tokens: int,
) -> Answers:
    """Rows that have read their prompts, each with its first new token."""
    Q, P = prompts.tokens_QP.shape
    first_Q1 = P - prompts.length_Q[:, None]
    positions_QP = jnp.arange(P)[None, :] - first_Q1
    segment_ids_QP = (positions_QP >= 0).astype(jnp.int32)
    # The last new token is never fed back, so it needs no slot.
    room = Room(P + max_new_tokens - 1)
    model: LanguageModel = nnx.merge(graphdef, params)
    token_Q, cache = _best(model, prompts.tokens_QP, jnp.maximum(positions_QP, 0), segment_ids_QP, room)
    none_Q = jnp.zeros(Q, jnp.int32)
    read = Answers(
        number_R=prompts.number_Q,
        new_RN=jnp.zeros((Q, max_new_tokens), jnp.int32),
        count_R=none_Q,
        is_open_R=prompts.number_Q > 0,
        last_R=none_Q,
        position_R=prompts.length_Q - 1,
        cache=cache,
    )
    return read.with_next(token_Q, cache, eos_E)


def _best(
    model: LanguageModel, tokens_BT: Array, positions_BT: Array, segment_ids_BT: Array, cache: Cache | Room
) -> tuple[Int[Array, " B"], Cache]:
    """The token that follows each row, and the cache with the tokens of the row."""
    x_BTD, kept = model.hidden(tokens_BT, positions_BT, segment_ids_BT, cache)
    assert kept is not None
    return first_best(model.logits(x_BTD[:, -1:])[:, 0]), kept


@partial(jax.jit, static_argnums=(0, 1))
def _zeros(shapes: tuple[jax.ShapeDtypeStruct, ...], treedef: Any) -> Any:
    def zero(shape: jax.ShapeDtypeStruct) -> Array:
        made = jnp.zeros(shape.shape, shape.dtype)
        return made if shape.sharding is None else jax.lax.with_sharding_constraint(made, shape.sharding)

    return jax.tree.unflatten(treedef, map(zero, shapes))
