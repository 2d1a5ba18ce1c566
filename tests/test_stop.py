"""Answers end before the texts at which they stop; what the model wrote is kept as it came."""

import pytest

from tests.resealing import reseal
from tests.running import read_json, read_jsonl, run_toy
from tunix_exp.data.config import TemplateConfig
from tunix_exp.data.render import Renderer
from tunix_exp.data.tokenizer import load_tokenizer
from tunix_exp.evaluation import evaluate as evaluation
from tunix_exp.evaluation.generate import Generation
from tunix_exp.evidence.verify import verify
from tunix_exp.scoring.stop import answered, place

RUN_ON = "It is 5.\nAnswer: 5é\nQ: What is 3+4?\nAnswer: 7"


@pytest.mark.parametrize(
    ("stop", "says"),
    [((), "ab Q: c"), (("Q:",), "ab "), (("c", "Q:"), "ab "), (("x",), "ab Q: c"), (("ab",), "")],
)
def test_an_answer_ends_before_the_first_of_the_texts(stop, says):
    assert answered("ab Q: c", stop) == says
    assert place("ab Q: c", stop) == (None if says == "ab Q: c" else len(says))


@pytest.mark.parametrize(
    ("prompt", "chat", "stop"),
    [
        ("{question}\n", "none", ()),
        ("Question: {question}\nAnswer:", "none", ("Question:",)),
        ("Solve it.\n\n### Problem:\n{question}\n", "none", ("### Problem:",)),
        ("What is {question}?", "none", ("\nWhat is",)),
        ("{question}", "gemma", ("<start_of_turn>",)),
    ],
)
def test_the_templates_own_stop_is_what_would_begin_a_next_example(prompt, chat, stop):
    template = TemplateConfig(
        chat=chat, system=None, date=None, prompt=prompt, response="{reasoning}{answer}",
        response_without_reasoning="{answer}", step_separator=" ",
    )  # fmt: skip
    assert Renderer(template).next_example() == stop


@pytest.fixture
def runs_on(monkeypatch):
    """Every answer goes on to a question of its own."""
    tokens = load_tokenizer("bundled:bytes", chat="none").backend.encode(RUN_ON).ids

    def generate(model, prompts, **options):
        return [Generation(tuple(tokens), "length") for _ in prompts]

    monkeypatch.setattr(evaluation, "generate", generate)


PROMPT = "data.template.prompt='Q: {question}'"
ROOM = ("data.max_tokens=64", "eval.max_new_tokens=4")


@pytest.mark.parametrize(
    ("words", "stop", "extracted"),
    [
        ((PROMPT,), ["Q:"], "5é"),
        ((PROMPT, "eval.stop=[]"), [], "7"),
        (("eval.stop=['Q:','é']",), ["Q:", "é"], "5"),
        ((), [], "7"),
    ],
)
def test_an_output_is_scored_up_to_its_stop_and_verify_does_so_again(
    tmp_path, runs_on, words, stop, extracted
):
    assert run_toy(tmp_path / "run", "mode=eval", *ROOM, *words) == 0
    assert read_json(tmp_path / "run" / "run_manifest.json")["eval"]["stop"] == stop
    for row in read_jsonl(tmp_path / "run" / "predictions" / "base.jsonl"):
        assert row["output"] == RUN_ON
        assert row["extracted_answer"] == extracted
        assert row["stop_reason"] == ("stop" if stop else "length")
    assert verify(tmp_path / "run") == []
    reseal(tmp_path / "run", lambda says: says["eval"].update(stop=["It"]))
    assert any("the output gives None" in one.what for one in verify(tmp_path / "run"))


def test_a_baseline_is_scored_by_the_stops_of_its_own(tmp_path, runs_on):
    assert run_toy(tmp_path / "there", "mode=eval", "eval.stop=['Question:']") == 0
    words = (f"eval.baseline={tmp_path / 'there'}", "eval.baseline_tolerance_points=100.0", "eval.stop=[]")
    assert run_toy(tmp_path / "here", "mode=eval", *words) == 0
    assert verify(tmp_path / "here") == []
    assert read_json(tmp_path / "here" / "run_manifest.json")["baseline"]["stop"] == ["Question:"]
