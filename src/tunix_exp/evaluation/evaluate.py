"""One model against the held-out items: answers, scores, held-out loss.

Base and trained model go through this one function with the same settings and the same compute type.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from tunix_exp.data.batch import laid_out
from tunix_exp.data.packing import least_padding, round_up
from tunix_exp.data.tokenizer import Tokenizer
from tunix_exp.data.tokens import TokenizedExample
from tunix_exp.evaluation.config import ItemsEvalConfig
from tunix_exp.evaluation.generate import generate, non_finite
from tunix_exp.models.architecture import LanguageModel
from tunix_exp.models.hosts import gathered, put
from tunix_exp.models.loss import response_nll
from tunix_exp.models.sharding import rows as rows_of_mesh
from tunix_exp.models.sharding import rows_beside
from tunix_exp.scoring.classes import Writing, classified
from tunix_exp.scoring.paired import Evaluation, ItemLoss, mean_loss
from tunix_exp.scoring.scorecard import Prediction, score
from tunix_exp.scoring.stop import answered, place

# So many items more, and their loss saves by another width what its compilation costs.
_ITEMS_PER_WIDTH = 256
_MOST_WIDTHS = 4
HELDOUT_ROWS = 16


def evaluate(
    model: LanguageModel,
    items: Sequence[TokenizedExample],
    tokenizer: Tokenizer,
    config: ItemsEvalConfig,
    *,
    writing: Writing,
    on_batch: Callable[[int], None] | None = None,
) -> Evaluation:
    """Predictions and held-out losses in the items' order; what an output has after a text of
    `writing.stop` is kept and not scored.
    """
    answers = generate(
        model,
        [item.tokens_T[: item.prompt_length].tolist() for item in items],
        max_new_tokens=config.max_new_tokens,
        eos_ids=tokenizer.stop_ids,
        pad_id=tokenizer.pad_id,
        batch_size=config.batch_size,
        on_batch=on_batch,
    )
    predictions = []
    for item, answer in zip(items, answers, strict=True):
        example = item.example
        output = tokenizer.decode(answer.tokens)
        extracted, correct = score(answered(output, writing.stop), example.answer)
        stop_reason = answer.stop_reason if place(output, writing.stop) is None else "stop"
        predictions.append(
            Prediction(
                id=example.id,
                prompt=tokenizer.decode(item.tokens_T[: item.prompt_length].tolist()),
                expected_answer=example.answer,
                output=output,
                extracted_answer=extracted,
                correct=correct,
                section=example.section,
                category=example.category,
                difficulty=example.difficulty,
                tokens=len(answer.tokens),
                stop_reason=stop_reason,
                question=example.question,
                classification=classified(
                    output,
                    question=example.question,
                    extracted=extracted,
                    correct=correct,
                    stop_reason=stop_reason,
                    writing=writing,
                ),
            )
        )
    return Evaluation(predictions, item_losses(model, items))


def heldout_loss(model: LanguageModel, items: Sequence[TokenizedExample]) -> float:
    """Mean negative log-likelihood (nats) of all the items' response tokens."""
    return mean_loss(item_losses(model, items))


def item_losses(model: LanguageModel, items: Sequence[TokenizedExample]) -> list[ItemLoss]:
    """Each item's negative log-likelihood (nats) of its response, and the tokens of it, in the items' order.

    Items of like length are computed together, in rows no wider than they must be. Every call has the same
    number of rows, so that the last bits depend on no setting. Raises NonFinite where one is no number.
    """
    graphdef, params = nnx.split(model)
    apart = rows_beside(params, HELDOUT_ROWS)
    widths = heldout_widths(items)
    order = sorted(range(len(items)), key=lambda index: len(items[index].tokens_T))
    losses: dict[int, ItemLoss] = {}
    for start in range(0, len(order), HELDOUT_ROWS):
        indices = order[start : start + HELDOUT_ROWS]
        part = [items[index] for index in indices]
        width = next(one for one in widths if one >= len(part[-1].tokens_T))
        # The last batch is filled up, so that every call has one shape; the filling is not counted.
        whole = [*part, *part[:1] * (HELDOUT_ROWS - len(part))]
        ids = tuple(item.example.id for item in whole)
        rows = laid_out([[item] for item in whole], ids, width=width, pad_id=0)
        arrays = put((rows.tokens_BT, rows.segment_ids_BT, rows.loss_mask_BT), apart)
        nll_B, count_B = gathered(_nll(graphdef)(params, *arrays))
        found = zip(indices, nll_B.tolist(), count_B.tolist(), strict=False)
        losses |= {index: ItemLoss(items[index].example.id, *figures) for index, *figures in found}
    broken = [loss.id for _, loss in sorted(losses.items()) if not math.isfinite(loss.nats)]
    if broken:
        raise non_finite(f"held-out losses of {len(broken)} items ({', '.join(broken[:5])} …)")
    return [losses[index] for index in range(len(items))]


def heldout_widths(items: Sequence[TokenizedExample]) -> tuple[int, ...]:
    """The padded lengths of the rows that `item_losses` computes, ascending; each costs a compilation."""
    lengths = [len(item.tokens_T) for item in items]
    count = min(1 + len(items) // _ITEMS_PER_WIDTH, _MOST_WIDTHS)
    return least_padding(lengths, count, round_up(max(lengths)))


def compile_losses(
    graphdef: nnx.GraphDef[Any], params: nnx.State, mesh: jax.sharding.Mesh, *, width: int
) -> jax.stages.Compiled:
    """The program by which `item_losses` computes rows of `width`, from shapes with shardings alone."""
    apart = jax.sharding.NamedSharding(mesh, rows_of_mesh(mesh, HELDOUT_ROWS))
    kinds = (jnp.int32, jnp.int32, jnp.bool_)
    batch = (jax.ShapeDtypeStruct((HELDOUT_ROWS, width), kind, sharding=apart) for kind in kinds)
    return _nll(graphdef).lower(params, *batch).compile()


@functools.cache
def _nll(graphdef: nnx.GraphDef[Any]) -> Any:
    return jax.jit(lambda params, *batch: response_nll(nnx.merge(graphdef, params), *batch))
