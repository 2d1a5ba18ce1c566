from dataclasses import replace

import pytest

from tests.closeness import assert_close, model_roundings
from tests.data.toys import TEMPLATE, example
from tests.models.toys import broken_model, toy_config, toy_model
from tunix_exp.data.render import Renderer
from tunix_exp.data.tokenize import tokenize
from tunix_exp.data.tokenizer import load_tokenizer
from tunix_exp.errors import NonFinite
from tunix_exp.evaluation import evaluate as evaluation
from tunix_exp.evaluation.config import ItemsEvalConfig
from tunix_exp.evaluation.generate import Generation
from tunix_exp.scoring.classes import Writing

BYTES = load_tokenizer("bundled:bytes", chat="none")


@pytest.mark.parametrize(("end_id", "stops"), [(256, (256,)), (10, (10, 256))])
def test_answers_stop_at_the_end_of_a_response_and_of_a_text(monkeypatch, end_id, stops):
    asked = []

    def generate(model, prompts, *, eos_ids, **_):
        asked.append(eos_ids)
        return [Generation(tuple(b"Answer: A"), "eos") for _ in prompts]

    monkeypatch.setattr(evaluation, "generate", generate)
    monkeypatch.setattr(evaluation, "item_losses", lambda *_: [])
    tokenizer = replace(BYTES, end_id=end_id)
    items = tokenize([example("Q?", answer="A")], Renderer(TEMPLATE), tokenizer, 64, "error").kept
    config = ItemsEvalConfig.model_construct(max_new_tokens=4, batch_size=1)
    writing = Writing((), None, "\n")
    [prediction] = evaluation.evaluate(None, items, tokenizer, config, writing=writing).predictions  # pyright: ignore
    assert asked == [stops]
    assert prediction.correct


def test_items_of_like_length_are_computed_together_and_come_in_their_own_order(monkeypatch):
    made = [example("?" * (1 + 7 * n % 60), name=f"x-{n}") for n in range(40)]
    items = tokenize(made, Renderer(TEMPLATE), BYTES, 96, "error").kept
    sizes = {"vocab_size": 257, "num_positions": 96, "num_layers": 1}
    config, model = toy_config(**sizes), toy_model(**sizes)
    assert evaluation.heldout_widths(items) == (80,)
    one_width = evaluation.item_losses(model, items)
    monkeypatch.setattr(evaluation, "_ITEMS_PER_WIDTH", 20)
    assert len(evaluation.heldout_widths(items)) == 3
    losses = evaluation.item_losses(model, items)
    assert [loss.id for loss in losses] == [item.example.id for item in items]
    assert [loss.tokens for loss in losses] == [loss.tokens for loss in one_width]
    nats, of_one_width = ([loss.nats for loss in some] for some in (losses, one_width))
    assert_close(nats, of_one_width, roundings=model_roundings(config, 80))


def test_held_out_losses_that_are_no_numbers_are_refused_with_their_items():
    items = tokenize([example("Q?", name="x-1")], Renderer(TEMPLATE), BYTES, 64, "error").kept
    model = broken_model(float("nan"), vocab_size=257, num_positions=96, num_layers=1)
    with pytest.raises(NonFinite, match=r"held-out losses of 1 items \(x-1 …\) are NaN or infinite"):
        evaluation.item_losses(model, items)
