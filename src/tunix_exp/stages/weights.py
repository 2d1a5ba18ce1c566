"""The model's weights, loaded where the plan wants them."""

from tunix_exp.config import RunConfig
from tunix_exp.errors import UserError
from tunix_exp.evidence.run_directory import RunDirectory
from tunix_exp.models import lora
from tunix_exp.models.digest import parameter_count, weight_hash
from tunix_exp.models.weights import Loaded
from tunix_exp.report.facts import adapter_text
from tunix_exp.schema import listed
from tunix_exp.stages.plan.evaluation import PlannedEvaluation
from tunix_exp.stages.plan.step import PlannedStep
from tunix_exp.stages.texts.read import Texts


def load(config: RunConfig, planned: PlannedStep | PlannedEvaluation, evidence: RunDirectory) -> Loaded:
    """The model as it is planned; the manifest has the hash of its parameters and of its files."""
    assert planned.weights is not None  # else the plan was refused
    loaded = planned.weights()
    loaded.model.loss_chunk = planned.loss_chunk
    params = lora.own_parameters(loaded.model)
    evidence.update(
        model={
            "revision": loaded.revision,
            "base_weight_hash": weight_hash(params),
            "files": loaded.files,
        }
    )
    evidence.log.say(
        f"model: {config.model.name}, {parameter_count(params):,} parameters, weights {config.model.weights}"
    )
    if loaded.left_out and "peft" in config.training.export:
        raise UserError(
            "an adapter is exported with the names of a text model's layers, and PEFT would look for them in"
            f" {config.model.weights}, where they have others",
            where="training.export",
            remedy="set training.export=[hf], which merges the adapter into a text model",
        )
    if loaded.left_out:
        parts = listed([f"{count} tensors of {part}" for part, count in loaded.left_out.items()])
        evidence.log.say(f"model files: {parts} left out, which are no part of the text model")
    if evidence.manifest.adapter is not None:
        evidence.update(adapter={"files": loaded.adapter_files})
        evidence.log.say(f"adapter: {adapter_text(evidence.manifest.adapter)}")
    return loaded


def with_end_ids(texts: Texts, loaded: Loaded, evidence: RunDirectory) -> Texts:
    """An answer ends at the tokenizer's ids and at those that the model's files name, if they name others."""
    tokenizer = texts.tokenizer.stopping_at(loaded.end_ids)
    if tokenizer.stop_ids != texts.tokenizer.stop_ids:
        evidence.log.say(f"end-of-sequence tokens, with the model files' own: {list(tokenizer.stop_ids)}")
    return texts._replace(tokenizer=tokenizer)
