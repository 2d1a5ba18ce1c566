from dataclasses import replace

import pytest

from tests.data.toys import TEMPLATE, example
from tunix_exp.data.render import Renderer
from tunix_exp.data.tokenize import tokenize
from tunix_exp.data.tokenizer import load_tokenizer
from tunix_exp.evaluation import evaluate as evaluation
from tunix_exp.evaluation.config import ItemsEvalConfig
from tunix_exp.evaluation.generate import Generation

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
    [prediction] = evaluation.evaluate(None, items, tokenizer, config).predictions  # pyright: ignore
    assert asked == [stops]
    assert prediction.correct
