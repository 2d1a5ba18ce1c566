"""The model card of an exported folder: what it is, what it was shown to do, and how it is loaded."""

import json
from pathlib import Path
from typing import Any, Literal

from tunix_exp.evidence.kinds import config as config_kind
from tunix_exp.evidence.kinds import data_card
from tunix_exp.evidence.kinds.read import object_if_any, read_object
from tunix_exp.evidence.manifest import RunManifest, read_manifest
from tunix_exp.evidence.sections import LoRA
from tunix_exp.numbers import counted
from tunix_exp.report import facts
from tunix_exp.report.markdown import verbatim
from tunix_exp.report.page.render import render_markdown
from tunix_exp.report.readme import result_of

Form = Literal["hf", "peft"]


def model_card(run: Path, form: Form) -> str:
    """Markdown with the front matter that the Hub reads, from the files that lie in `run` by now."""
    manifest, config = read_manifest(run), read_object(config_kind.KIND, run)
    # by which training and evaluation rendered prompts and responses
    keys = ("chat", "system") if _are_conversations(run, config) else ("chat", "system", "prompt", "response")
    template = {key: config["data"]["template"][key] for key in keys}
    return render_markdown(
        "card.md",
        manifest=manifest,
        model=manifest.model,
        is_adapter=form == "peft",
        what=_what_it_is(manifest, config, form),
        facts=facts.markdown(facts.all_of(manifest, run)),
        prompts=json.dumps(template, indent=2, ensure_ascii=False),
        **result_of(run),
    )


def _are_conversations(run: Path, config: dict[str, Any]) -> bool:
    """Whether every row that was read has messages of its own, which a chat template renders alone."""
    card = object_if_any(data_card.KIND, run)
    if card is None or config["data"]["template"]["chat"] == "none":
        return False
    sets = [*data_card.train_facts(card).values(), card["eval"]]
    return all(one is None or "messages" in one["fields"] for one in sets)


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
