import copy
import json

import pytest

from tests.report.run_files import MANIFEST, write_run, write_summary
from tunix_exp.report.card import model_card

TEMPLATE = {"chat": "none", "system": None, "prompt": "Q: {question}\n", "response": "{answer}"}
ADAPTER = {
    "scaling": "lora", "rank": 8, "alpha": 16.0, "targets": ["attn.c_attn"], "parameter_count": 192,
    "frozen_dtype": "float32", "name": "lora", "weights": "random", "dropout": 0.0, "merge_for_eval": True,
    "frozen_weight_hash_after": None, "files": {},
}  # fmt: skip


@pytest.fixture
def card(tmp_path):
    def written(
        form="hf", *, weights="random", adapter=None, steps_done=4, summary=True, export_dtype=None,
        template=TEMPLATE, data_card=None,
    ):  # fmt: skip
        manifest = copy.deepcopy(MANIFEST) | {"adapter": adapter, "steps_done": steps_done}
        manifest["model"]["weights"] = weights
        write_run(tmp_path, losses=[1.0], manifest=manifest)
        config = {"data": {"template": template}, "device": {"param_dtype": "float32"}}
        config["training"] = {"export_dtype": export_dtype}
        (tmp_path / "config.json").write_text(json.dumps(config))
        if data_card is not None:
            (tmp_path / "data_card.json").write_text(json.dumps(data_card))
        if summary:
            write_summary(tmp_path)
        return model_card(tmp_path, form)

    return written


def test_a_card_opens_with_what_the_hub_reads_and_the_result(card):
    text = card(weights=f"hub:google/gemma-2b@{'0' * 40}")
    front, _, rest = text.removeprefix("---\n").partition("\n---\n")
    assert front.splitlines() == [
        "library_name: transformers",
        "pipeline_tag: text-generation",
        "base_model: google/gemma-2b",
        "tags:",
        "- tunix_exp",
    ]
    assert rest.strip().startswith(
        "# nano\n\n`nano-gpt2`, trained for 4 steps.\n\n**The trained model is better"
    )
    assert "| all items | 12 | 25.0 % | 91.7 % |" in rest
    assert "nano/2026-07-01_12-00-00-123456" in rest
    assert '"prompt": "Q: {question}\\n"' in rest


CONVERSATIONS, QUESTIONS = {"messages": "messages"}, {"question": "prompt", "answer": "answer"}


@pytest.mark.parametrize(
    ("chat", "train", "held_out", "has_prompt"),
    [
        ("gemma", CONVERSATIONS, CONVERSATIONS, False),
        ("gemma", CONVERSATIONS, None, False),
        ("gemma", CONVERSATIONS, QUESTIONS, True),
        ("gemma", QUESTIONS, None, True),
        ("none", CONVERSATIONS, None, True),
    ],
)
def test_a_template_of_prompts_that_rendered_nothing_is_not_on_the_card(
    card, chat, train, held_out, has_prompt
):
    facts = {"train": {"fields": train}, "eval": None if held_out is None else {"fields": held_out}}
    text = card(template=TEMPLATE | {"chat": chat}, data_card=facts)
    assert f'"chat": "{chat}"' in text
    assert ('"prompt": "Q: {question}\\n"' in text) == has_prompt


def test_random_weights_have_no_base_model(card):
    assert "base_model" not in card()


def test_an_adapter_s_card_is_of_peft_and_a_merged_model_s_says_so(card):
    assert "library_name: peft" in card("peft", adapter=ADAPTER)
    assert "An adapter for `nano-gpt2`, trained for 4 steps." in card("peft", adapter=ADAPTER)
    assert "AutoPeftModelForCausalLM" in card("peft", adapter=ADAPTER)
    assert "its adapter merged into the weights." in card("hf", adapter=ADAPTER)
    assert "LoRA rank 8" in card("hf", adapter=ADAPTER)


@pytest.mark.parametrize(
    ("adapter", "export_dtype", "is_rounded"),
    [
        (None, None, False),
        (None, "bfloat16", True),
        (ADAPTER, None, False),
        (ADAPTER | {"frozen_dtype": "bfloat16"}, None, True),
        (ADAPTER | {"frozen_dtype": "bfloat16"}, "float32", False),
    ],
)
def test_a_card_says_when_coarser_weights_leave_than_were_scored(card, adapter, export_dtype, is_rounded):
    sentence = "The weights here are rounded to bfloat16; the figures below were measured before rounding."
    assert (sentence in card("hf", adapter=adapter, export_dtype=export_dtype)) == is_rounded


def test_a_model_that_was_only_loaded_claims_no_training(card):
    text = card(steps_done=None, summary=False)
    assert "as loaded, not trained." in text
    assert "**" not in text
