"""The model card of an exported folder: what it is, what it was shown to do, and how it is loaded."""

import json
from pathlib import Path
from typing import Any, Literal

from tunix_exp.evidence import layout
from tunix_exp.evidence.manifest import LoRA, RunManifest, parse_manifest
from tunix_exp.evidence.strict_json import read_json_object, read_text
from tunix_exp.numbers import counted
from tunix_exp.report.markdown import named, verbatim
from tunix_exp.report.readme import result_of, what_was_run

Form = Literal["hf", "peft"]

_LOADING = {
    "hf": """from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(FOLDER)
model = AutoModelForCausalLM.from_pretrained(FOLDER)""",
    "peft": """from peft import AutoPeftModelForCausalLM

# or PeftModel.from_pretrained(BASE_MODEL, FOLDER)
model = AutoPeftModelForCausalLM.from_pretrained(FOLDER)""",
}


def model_card(run: Path, form: Form) -> str:
    """Markdown with the front matter that the Hub reads, from the files that lie in `run` by now."""
    manifest = parse_manifest(read_text(run / layout.MANIFEST, file=layout.MANIFEST))
    config = read_json_object(run / layout.CONFIG, file=layout.CONFIG)
    parts = [
        _front_matter(manifest, form),
        f"# {named(manifest.name)}",
        _what_it_is(manifest, config, form),
        *result_of(run),
        what_was_run(manifest),
        f"## Loading\n\n```python\n{_LOADING[form]}\n```",
        _prompt(config["data"]["template"]),
        "## Evidence\n\nThe run directory of "
        f"`{manifest.run_id}` holds every answer behind these figures and the hash of every file here; "
        "`python -m tunix_exp verify` checks them.",
    ]
    return "\n\n".join(parts) + "\n"


def _front_matter(manifest: RunManifest, form: Form) -> str:
    assert manifest.model is not None
    weights = manifest.model.weights
    lines = [f"library_name: {'peft' if form == 'peft' else 'transformers'}", "pipeline_tag: text-generation"]
    if weights.startswith("hub:"):
        lines.append(f"base_model: {weights.removeprefix('hub:').partition('@')[0]}")
    return "\n".join(["---", *lines, "tags:", "- tunix_exp", "---"])


def _what_it_is(manifest: RunManifest, config: dict[str, Any], form: Form) -> str:
    assert manifest.model is not None
    steps = manifest.steps_done
    done = "as loaded, not trained" if steps is None else f"trained for {counted(steps, 'step')}"
    what = f"{verbatim(manifest.model.name)}, {done}"
    if form == "peft":
        return f"An adapter for {what}."
    merged = ", its adapter merged into the weights" if manifest.adapter is not None else ""
    return f"{what}{merged}.{_rounding(manifest.adapter, config)}"


def _rounding(adapter: LoRA | None, config: dict[str, Any]) -> str:
    """A sentence where the exported weights are coarser than those that were scored."""
    if adapter is None:
        scored = exported = config["device"]["param_dtype"]
    else:
        scored, exported = "float32", adapter.frozen_dtype
    if config["training"]["export_dtype"] is not None:
        exported = config["training"]["export_dtype"]
    if exported in (scored, "float32"):
        return ""
    return f" The weights here are rounded to {exported}; the figures below were measured before rounding."


def _prompt(template: dict[str, Any]) -> str:
    """The template by which training and evaluation rendered prompts and responses."""
    used = {key: template[key] for key in ("chat", "system", "prompt", "response")}
    return f"## Prompt template\n\n```json\n{json.dumps(used, indent=2, ensure_ascii=False)}\n```"
