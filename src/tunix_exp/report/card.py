"""The model card of an exported folder: what it is, what it was shown to do, and how it is loaded."""

import json
from pathlib import Path
from typing import Any, Literal

from tunix_exp.evidence import layout
from tunix_exp.evidence.strict_json import read_json_object
from tunix_exp.report.markdown import named, verbatim
from tunix_exp.report.tables import result_of, what_was_run

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
    manifest = read_json_object(run / layout.MANIFEST, file=layout.MANIFEST)
    config = read_json_object(run / layout.CONFIG, file=layout.CONFIG)
    parts = [
        _front_matter(manifest, form),
        f"# {named(manifest['name'])}",
        _what_it_is(manifest, config, form),
        *result_of(run),
        what_was_run(manifest),
        f"## Loading\n\n```python\n{_LOADING[form]}\n```",
        _prompt(config["data"]["template"]),
        "## Evidence\n\nEvery answer behind these figures, and the hash of every file here, lie in the run"
        f" directory of `{manifest['run_id']}`; `python -m tunix_exp verify` reads them again.",
    ]
    return "\n\n".join(parts) + "\n"


def _front_matter(manifest: dict[str, Any], form: Form) -> str:
    weights = manifest["model"]["weights"]
    lines = [f"library_name: {'peft' if form == 'peft' else 'transformers'}", "pipeline_tag: text-generation"]
    if weights.startswith("hub:"):
        lines.append(f"base_model: {weights.removeprefix('hub:').partition('@')[0]}")
    return "\n".join(["---", *lines, "tags:", "- tunix_exp", "---"])


def _what_it_is(manifest: dict[str, Any], config: dict[str, Any], form: Form) -> str:
    steps = manifest["steps_done"]
    done = "as it was loaded; nothing was trained" if steps is None else f"trained for {steps} steps"
    what = f"{verbatim(manifest['model']['name'])}, {done}"
    if form == "peft":
        return f"An adapter for {what}."
    merged = ", its adapter merged into the weights" if manifest["adapter"] is not None else ""
    return f"{what}{merged}.{_rounding(manifest['adapter'], config)}"


def _rounding(adapter: dict[str, Any] | None, config: dict[str, Any]) -> str:
    """A sentence where the exported weights are coarser than those that were scored."""
    if adapter is None:
        scored = exported = config["device"]["param_dtype"]
    else:
        scored, exported = "float32", adapter["frozen_dtype"]
    if config["training"]["export_dtype"] is not None:
        exported = config["training"]["export_dtype"]
    if exported in (scored, "float32"):
        return ""
    return f" They are rounded to {exported} here; the figures below are from before."


def _prompt(template: dict[str, Any]) -> str:
    """How training and evaluation spelled what they asked and were to be answered."""
    spelled = {key: template[key] for key in ("chat", "system", "prompt", "response")}
    return f"## Prompts\n\n```json\n{json.dumps(spelled, indent=2, ensure_ascii=False)}\n```"
