"""What one model makes of the held-out items, scored."""

from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from tunix_exp.config import RunConfig
from tunix_exp.evaluation.config import ItemsEvalConfig
from tunix_exp.evaluation.evaluate import evaluate
from tunix_exp.evidence.kinds import harness, item_losses, predictions
from tunix_exp.evidence.kinds.kind import Kind
from tunix_exp.evidence.kinds.read import read_object, read_rows
from tunix_exp.evidence.kinds.stages import recorded_inputs
from tunix_exp.evidence.manifest import config_hash
from tunix_exp.evidence.run_directory import RunDirectory
from tunix_exp.models import lora
from tunix_exp.models.architecture import LanguageModel
from tunix_exp.scoring.classes import Writing
from tunix_exp.scoring.harness import Outcome
from tunix_exp.scoring.paired import Evaluation
from tunix_exp.stages.once import once
from tunix_exp.stages.texts.read import Texts
from tunix_exp.sweep.state import jobs_beside

Which = Literal["base", "trained"]
_ITEMS: dict[Which, tuple[Kind, Kind]] = {
    "base": (predictions.BASE, item_losses.BASE),
    "trained": (predictions.TRAINED, item_losses.TRAINED),
}
_HARNESS: dict[Which, tuple[Kind, Kind]] = {
    "base": (harness.BASE, harness.BASE_SAMPLES),
    "trained": (harness.TRAINED, harness.TRAINED_SAMPLES),
}
# What the config says of an evaluation beside the items; the rest of it is about training. The seed is not
# among it: what it draws is in the hash of the weights, and what it draws of an adapter is times zero.
_CONFIG = ("model", "adapter", "device", "eval")


def evaluated(
    which: Which,
    model: LanguageModel,
    config: RunConfig,
    texts: Texts,
    line: tuple[Path, ...],
    evidence: RunDirectory,
) -> Evaluation | Outcome:
    """The answers of `model` and the loss on every item, or what it makes of the harness's tasks.

    Taken from a run of `line` that had done it with the same weights, items, code and machine; that of the
    base model from another job of the run's sweep as well.
    """
    kinds = (_ITEMS if texts.tasks is None else _HARNESS)[which]
    stage = f"{which} evaluation"
    # A replay shows what a run gives, and takes nothing from another.
    is_shared = which == "base" and evidence.manifest.replay_of is None

    def make() -> Evaluation | Outcome:
        ready = lora.for_evaluation(model, config.adapter)
        if texts.tasks is None:
            return _answered(which, ready, config, texts, evidence)
        from tunix_exp.evaluation.harness.stage import ask

        return ask(which, ready, texts.tasks, texts.tokenizer, evidence)

    def read() -> Evaluation | Outcome:
        first, second = kinds
        if texts.tasks is None:
            return Evaluation(read_rows(first, evidence.root), read_rows(second, evidence.root))
        return Outcome(read_object(first, evidence.root), read_rows(second, evidence.root))

    return once(
        stage,
        inputs=_inputs(stage, model, config, texts, evidence),
        kinds=kinds,
        line=(*line, *jobs_beside(evidence.root)) if is_shared else line,
        evidence=evidence,
        make=make,
        read=read,
    )


def _answered(
    which: Which, model: LanguageModel, config: RunConfig, texts: Texts, evidence: RunDirectory
) -> Evaluation:
    assert isinstance(config.eval, ItemsEvalConfig)
    with evidence.log.progress(len(texts.items), f"{which} answers") as bar:
        answered = 0

        def advance(done: int) -> None:
            nonlocal answered
            bar(done - answered)
            answered = done

        writing = Writing(texts.stop, texts.form, config.data.template.step_separator)
        result = evaluate(model, texts.items, texts.tokenizer, config.eval, writing=writing, on_batch=advance)
    answers, losses = _ITEMS[which]
    evidence.write(answers, result.predictions)
    evidence.write(losses, result.losses)
    return result


def _inputs(
    stage: str, model: LanguageModel, config: RunConfig, texts: Texts, evidence: RunDirectory
) -> dict[str, Any]:
    """All that decides what the evaluation gives, to the bit."""
    plain = config.model_dump(mode="json")
    says = {key: plain[key] for key in _CONFIG} | {"template": plain["data"]["template"]}
    if isinstance(config.eval, ItemsEvalConfig) and config.eval.share is not None:
        says["data"] = plain["data"]  # it says which items there are
    return {
        **recorded_inputs(stage, evidence.manifest.model_dump(mode="json")),
        "end_ids": list(texts.tokenizer.stop_ids),
        "form": texts.form and asdict(texts.form),
        "loss_chunk": asdict(model.loss_chunk),
        "config": config_hash(says),
    }
