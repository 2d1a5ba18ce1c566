"""Which part of a run's directory holds the model that it trained; no JAX."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunix_exp.errors import UserError
from tunix_exp.models.config import ModelConfig
from tunix_exp.received import read_object
from tunix_exp.schema import written

MANIFEST, CONFIG, ORIGIN = "run_manifest.json", "config.json", "origin.json"
# Where the model lies, how it is held and gone through: no part of what it computes.
_MAY_DIFFER = (
    "name", "weights", "tokenizer", "stored_dtype", "quantize", "init_std", "layer_loop", "remat",
)  # fmt: skip
_CHECKPOINTS, _EXPORT = "checkpoints", "export/hf"
_STAGES = ("trained_evaluation", "base_evaluation")
_EXPORTING = "run it again with training.export=[hf], which writes the trained model"


@dataclass(frozen=True, slots=True)
class Part:
    """A folder with weights: a checkpoint, or a model as transformers has it; the step after which they stood
    there, and the tokens that end an answer, of a checkpoint alone.
    """

    folder: Path
    is_checkpoint: bool
    step: int | None
    end_ids: tuple[int, ...]


def is_run(folder: Path) -> bool:
    """Whether a run has claimed `folder`."""
    return (folder / MANIFEST).is_file()


def model_of(folder: Path) -> dict[str, Any]:
    """The `model` group of the run in `folder`, as it was for the run, but for what its checkpoint has."""
    config = read_object(folder / CONFIG)
    return {**config["model"], "stored_dtype": config["device"]["param_dtype"], "quantize": None}


def check_model(folder: Path, config: ModelConfig) -> None:
    """The run in `folder` had the model of `config`; else UserError with every key that differs.

    Shapes alone do not tell: another number of heads has the same ones.
    """
    theirs, ours = read_object(folder / CONFIG)["model"], config.model_dump(mode="json")
    faults = [
        f"model.{key} is {written(ours[key])}, the run had {written(theirs[key])}"
        for key in ours
        if key in theirs and key not in _MAY_DIFFER and theirs[key] != ours[key]
    ]
    if theirs["family"] != config.family:
        faults = [f"model.family is {config.family}, the run had {theirs['family']}"]
    if faults:
        raise UserError(
            "\n".join(["the model is not that of the run:", *map("  {}".format, faults)]),
            where=f"model.weights={folder}",
            remedy="choose the model of that run key by key, or model=hf, which takes all of it from the run",
        )


def part_of(folder: Path) -> Part:
    """The newest checkpoint of the run in `folder`, where the whole model was trained; else what it exported.

    Raises UserError where there is neither.
    """
    config = read_object(folder / CONFIG)
    exported = folder / _EXPORT
    steps = sorted(int(one.name) for one in (folder / _CHECKPOINTS).glob("*") if one.name.isdigit())
    is_adapted = config["adapter"]["name"] != "none"
    if steps and not is_adapted and config["mode"]["name"] in ("full", "smoke"):
        end_ids = () if config["model"]["weights"] == "random" else _end_ids(folder)
        if end_ids is not None:
            return Part(folder / _CHECKPOINTS / str(steps[-1]), True, steps[-1], end_ids)
    if (exported / CONFIG).is_file():
        return Part(exported, False, None, ())
    raise UserError(
        f"the run {_what_lacks(is_adapted, bool(steps))}",
        where=f"model.weights={folder}",
        remedy=f"{_EXPORTING}, or continue the adapter: model.weights as it was there, adapter=lora and"
        f" adapter.weights={folder}/export/peft"
        if is_adapted
        else _EXPORTING,
    )


def _what_lacks(is_adapted: bool, has_checkpoint: bool) -> str:
    if is_adapted:
        return "trained an adapter, and did not export the model that it is merged into"
    if has_checkpoint:
        return "has a checkpoint, but no record of the tokens at which its model's answers end, and no export"
    return "has neither a checkpoint nor an exported model"


def _end_ids(folder: Path) -> tuple[int, ...] | None:
    """The tokens at which the run's answers ended, as it recorded them; None where it did not."""
    if (folder / ORIGIN).is_file():
        return tuple(read_object(folder / ORIGIN)["end_ids"])
    for name in _STAGES:
        file = folder / "stages" / f"{name}.json"
        if file.is_file() and "end_ids" in (inputs := read_object(file)["inputs"]):
            return tuple(inputs["end_ids"])
    return None
