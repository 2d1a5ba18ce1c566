"""Chat templates as Jinja: the published format of a few model families, in our own words.

What each writes is documented by its makers; default texts and tools are left out where no test needs them.
"""

from pathlib import Path
from typing import Any

from tests.data.toys import saved_tokenizer

GEMMA = """{{ bos_token }}{% set ns = namespace(system='') %}
{%- if messages[0].role == 'system' %}{% set ns.system = messages[0].content + '\n\n' %}
{%- set rest = messages[1:] %}{% else %}{% set rest = messages %}{% endif %}
{%- for message in rest %}
{%- if (message.role == 'user') != (loop.index0 % 2 == 0) %}
{{- raise_exception('Roles must alternate: user, assistant, user, …') }}{% endif %}
{{- '<start_of_turn>' + ('model' if message.role == 'assistant' else message.role) + '\n' }}
{{- (ns.system if loop.first else '') + message.content | trim + '<end_of_turn>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"""

# Version 2 of the same family knows no system message.
GEMMA_2 = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    + GEMMA
)

LLAMA_3 = """{{ bos_token }}{% for message in messages %}
{{- '<|start_header_id|>' + message.role + '<|end_header_id|>\n\n' + message.content | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"""

# From 3.1 on a system message comes first, always, with a date; 3.2 takes it from the clock.
LLAMA_3_DATED = """{{ bos_token }}
{%- if not date_string is defined %}CLOCK{% endif %}
{%- if messages[0].role == 'system' %}
{%- set said = messages[0].content | trim %}{% set rest = messages[1:] %}
{%- else %}{% set said = '' %}{% set rest = messages %}{% endif %}
{{- '<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\nToday Date: ' }}
{{- date_string + '\n\n' + said + '<|eot_id|>' }}
{%- for message in rest %}
{{- '<|start_header_id|>' + message.role + '<|end_header_id|>\n\n' + message.content | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"""
LLAMA_3_1 = LLAMA_3_DATED.replace("CLOCK", "{% set date_string = '26 Jul 2024' %}")
LLAMA_3_2 = LLAMA_3_DATED.replace("CLOCK", "{% set date_string = strftime_now('%d %b %Y') %}")

CHATML = """{% if messages[0].role != 'system' %}{{ '<|im_start|>system\nDEFAULT<|im_end|>\n' }}{% endif %}
{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"""
QWEN_2_5 = CHATML.replace("DEFAULT", "You are Qwen.")
SMOLLM_2 = CHATML.replace("DEFAULT", "You are SmolLM.")

# Thoughts of earlier answers are dropped; the last answer has them, be they empty.
QWEN_3 = """{% set ns = namespace(last=0) %}
{%- for message in messages %}
{%- if message.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}
{%- endfor %}
{%- for message in messages %}
{%- if message.role == 'assistant' %}
{%- set thought = '' %}{% set said = message.content %}
{%- if '</think>' in said %}
{%- set thought = said.split('</think>')[0].split('<think>')[-1].strip('\n') %}
{%- set said = said.split('</think>')[-1].lstrip('\n') %}{% endif %}
{%- if loop.index0 > ns.last %}{% set said = '<think>\n' + thought + '\n</think>\n\n' + said %}{% endif %}
{{- '<|im_start|>assistant\n' + said + '<|im_end|>\n' }}
{%- else %}{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}{% endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}
{%- endif %}"""

HEADERS = ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
IM = ("<|im_start|>", "<|im_end|>")
# Each with the special tokens beside `<bos>`, and whether the tokenizer puts `<bos>` in front by itself.
FAMILIES: dict[str, tuple[str, tuple[str, ...], bool]] = {
    "Gemma": (GEMMA, ("<start_of_turn>", "<end_of_turn>"), True),
    "Llama 3": (LLAMA_3, HEADERS, True),
    "Llama 3.1": (LLAMA_3_1, HEADERS, True),
    "Qwen 2.5": (QWEN_2_5, IM, False),
    "Qwen 3": (QWEN_3, IM, False),
    "SmolLM2": (SMOLLM_2, IM, False),
}


def chat_tokenizer(folder: Path, template: Any, tokens: tuple[str, ...], *, adds_bos: bool = False) -> str:
    """The byte tokenizer with `<bos>` 257 and `tokens` after it, and the chat template in a file of its own.

    Several templates are those of tokenizer_config.json, by their names; None is none.
    """
    settings = {"eos_token": tokens[-1] if tokens else "<|endoftext|>"}
    if isinstance(template, dict):
        named = [{"name": name, "template": text} for name, text in template.items()]
        settings["chat_template"] = named
    saved_tokenizer(folder, *tokens, adds_bos=adds_bos, **settings)
    if isinstance(template, str):
        (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    return str(folder)
