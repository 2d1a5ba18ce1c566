"""Writes harness/gpt2/ and harness/gemma/: a tokenizer for the checkpoint of that name beside it, and in
expected.json what the harness's own `hf` backend answers with both.

    python3.11 -m venv VENV
    VENV/bin/pip install torch==2.13.0 transformers==5.23.0 accelerate==1.15.0 lm-eval==0.4.13
    VENV/bin/python tests/goldens/make_harness.py

PyTorch is no dependency of the project; this script alone needs it. The same versions write the same numbers.
"""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import tokenizers
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from tokenizers import AddedToken, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

HERE = Path(__file__).parent
# The checkpoints know 128 ids: what ASCII prints, the line end, and a few words, so that a token may reach
# over the border between a context and its continuation.
MERGES = (
    ("t", "h"), ("th", "e"), ("Ġ", "the"), ("Ġ", "a"), ("a", "n"), ("Ġa", "n"), ("an", "d"), ("i", "n"),
    ("in", "g"), ("e", "r"), ("Ġ", "B"), (":", "Ġ"),
)  # fmt: skip
SPECIALS = {
    "gpt2": {"<|endoftext|>": 127},
    "gemma": {"<pad>": 0, "<eos>": 1, "<bos>": 2, "<start_of_turn>": 126, "<end_of_turn>": 127},
}
CHARACTERS = ["Ċ", "Ġ", *map(chr, range(33, 127))]
# Gemma 3's, of text alone.
CHAT_TEMPLATE = """{{ bos_token }}{%- if messages[0]['role'] == 'system' -%}\
{%- set first_user_prefix = messages[0]['content'] + '\n\n' -%}{%- set loop_messages = messages[1:] -%}\
{%- else -%}{%- set first_user_prefix = "" -%}{%- set loop_messages = messages -%}{%- endif -%}\
{%- for message in loop_messages -%}\
{%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}\
{{ raise_exception("Conversation roles must alternate user/assistant/user/assistant/...") }}{%- endif -%}\
{%- if (message['role'] == 'assistant') -%}{%- set role = "model" -%}{%- else -%}\
{%- set role = message['role'] -%}{%- endif -%}\
{{ '<start_of_turn>' + role + '\n' + (first_user_prefix if loop.first else "") }}\
{{ message['content'] | trim }}{{ '<end_of_turn>\n' }}{%- endfor -%}\
{%- if add_generation_prompt -%}{{'<start_of_turn>model\n'}}{%- endif -%}"""

LONG = "The cat and the dog sat in the garden, eating another thing than the other.\nThen the end."
CONTEXTS = ("The cat", "Question: what is the thing?\nAnswer:", "a ", "In the", LONG, "It\n\n")
CONTINUATIONS = (" and", " the dog", "the", " B", "x", " another thing")
TEXTS = ("The cat and the dog.", "the", LONG, LONG + LONG, "")
ENDINGS = (
    {"until": ["\n"], "max_gen_toks": 16, "do_sample": False},
    {"until": ["N", "ll"], "max_gen_toks": 16},
    {"until": [], "max_gen_toks": 16, "temperature": 0.0},
)
TALK = [
    {"role": "system", "content": "Be brief. "},
    {"role": "user", "content": " 1 + 1?\n"},
    {"role": "assistant", "content": "2"},
    {"role": "user", "content": "2 + 2?"},
]
TALKS = ((TALK[1:2], True), (TALK, True), (TALK[:3], False), ([TALK[0], TALK[3]], True))


def save_tokenizer(folder: Path, family: str) -> None:
    """The tokenizer of `family` in `folder`: GPT-2's has one special token, Gemma's puts `<bos>` in front."""
    specials = SPECIALS[family]
    free = [id_ for id_ in range(128) if id_ not in specials.values()]
    words = [*CHARACTERS, *("".join(pair) for pair in MERGES)]
    vocab = dict(zip(words, free, strict=False)) | specials
    backend = tokenizers.Tokenizer(models.BPE(vocab=vocab, merges=list(MERGES)))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in specials])
    named: dict[str, Any] = {"eos_token": "<|endoftext|>", "bos_token": "<|endoftext|>"}
    if family == "gemma":
        backend.post_processor = processors.TemplateProcessing(
            single="<bos> $A", pair="<bos> $A <bos> $B", special_tokens=[("<bos>", 2)]
        )
        named = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>"}
        named["chat_template"] = CHAT_TEMPLATE
    PreTrainedTokenizerFast(tokenizer_object=backend, **named).save_pretrained(folder)


def asked(kind: str, *arguments: Any) -> Instance:
    return Instance(request_type=kind, doc={}, arguments=arguments, idx=0, metadata=("golden", 0, 1))  # pyright: ignore


def answers(family: str, folder: Path) -> dict[str, Any]:
    """Every request with the answer of the `hf` backend."""
    hf = HFLM(
        pretrained=str(HERE / family), tokenizer=str(folder), dtype="float32", device="cpu", batch_size=1
    )
    generated = [[context, kwargs] for context in CONTEXTS for kwargs in ENDINGS]
    texts = hf.generate_until([asked("generate_until", *one) for one in generated])
    # what it would write itself, so that some are greedy
    own = [[one[0], text] for one, text in zip(generated, texts, strict=True) if text]
    pairs = [[context, text] for context in (*CONTEXTS, "") for text in CONTINUATIONS] + own
    scores = hf.loglikelihood([asked("loglikelihood", *one) for one in pairs])
    assert {greedy for _, greedy in scores} == {True, False}
    rolling = hf.loglikelihood_rolling([asked("loglikelihood_rolling", text) for text in TEXTS])
    found: dict[str, Any] = {
        "versions": {name: version(name) for name in ("lm-eval", "torch", "transformers")},
        "loglikelihood": [[*one, *score] for one, score in zip(pairs, scores, strict=True)],
        "loglikelihood_rolling": [[text, nats] for text, nats in zip(TEXTS, rolling, strict=True)],
        "generate_until": [[*one, text] for one, text in zip(generated, texts, strict=True)],
    }
    if family == "gemma":
        found["chat"] = [[talk, opens, hf.apply_chat_template(talk, opens)] for talk, opens in TALKS]
    return found


def main() -> None:
    for family in ("gpt2", "gemma"):
        folder = HERE / "harness" / family
        save_tokenizer(folder, family)
        text = json.dumps(answers(family, folder), indent=1, ensure_ascii=False)
        (folder / "expected.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
