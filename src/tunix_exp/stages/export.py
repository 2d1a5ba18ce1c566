"""The trained model in the forms that other tools read."""

from typing import Any

from tunix_exp import references
from tunix_exp.config import RunConfig
from tunix_exp.data.tokenizer import Tokenizer
from tunix_exp.evidence.run_directory import RunDirectory
from tunix_exp.models.adapter import LoRAConfig
from tunix_exp.models.export import write_adapter, write_model
from tunix_exp.models.run_folder import is_run, part_of
from tunix_exp.models.weights import Loaded
from tunix_exp.report.card import model_card


def export(
    model: Any, loaded: Loaded, config: RunConfig, tokenizer: Tokenizer, evidence: RunDirectory
) -> None:
    """The model in every form of `training.export`, each with a card."""
    for form in config.training.export:
        folder = evidence.path(f"export/{form}/README.md").parent
        if form == "hf":
            write_model(
                folder,
                model,
                config.model,
                dtype=config.training.export_dtype,
                source=loaded.folder,
                special_ids=tokenizer.special_ids,
            )
            tokenizer.save(folder)
        else:
            assert isinstance(config.adapter, LoRAConfig)
            write_adapter(
                folder,
                model,
                config.model,
                config.adapter,
                base=_base(config.model.weights),
                revision=loaded.revision,
            )
        evidence.write_text(f"export/{form}/README.md", model_card(evidence.root, form))
        size = sum(file.stat().st_size for file in folder.iterdir())
        evidence.log.say(f"export: export/{form}, {size / 1e6:,.1f} MB")


def _base(weights: str) -> str | None:
    """What PEFT looks for the base model under: random weights and checkpoints of runs are nothing to it."""
    match references.parse(weights, key="model.weights"):
        case references.Hub() as reference:
            return reference.repo
        case references.Random():
            return None
        case references.Local(path) if is_run(path):
            part = part_of(path)
            return None if part.is_checkpoint else f"{weights}/{part.folder.relative_to(path).as_posix()}"
    return weights
