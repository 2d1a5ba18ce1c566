"""Weights out of a run's directory: which part is taken, and what is refused."""

import json

import pytest

from tunix_exp.errors import UserError
from tunix_exp.models.run_folder import part_of


def a_run(folder, *, adapter="none", weights="random", steps=(), exported=False):
    """A directory with the files by which the part is chosen, and nothing in them."""
    config = {"adapter": {"name": adapter}, "mode": {"name": "full"}, "model": {"weights": weights}}
    (folder / "config.json").write_text(json.dumps(config))
    for step in steps:
        (folder / "checkpoints" / str(step)).mkdir(parents=True)
    if exported:
        (folder / "export" / "hf").mkdir(parents=True)
        (folder / "export" / "hf" / "config.json").write_text("{}")
    return folder


def test_the_newest_checkpoint_comes_before_an_export(tmp_path):
    part = part_of(a_run(tmp_path, steps=(9, 10, 100), exported=True))
    assert (part.folder, part.is_checkpoint, part.step) == (tmp_path / "checkpoints" / "100", True, 100)


def test_of_an_adapter_the_export_is_taken(tmp_path):
    part = part_of(a_run(tmp_path, adapter="lora", steps=(9,), exported=True))
    assert (part.folder, part.is_checkpoint) == (tmp_path / "export" / "hf", False)


@pytest.mark.parametrize("record", ["stages/base_evaluation.json", "origin.json"])
def test_where_answers_end_is_what_the_run_recorded(tmp_path, record):
    run = a_run(tmp_path, weights="./gemma", steps=(9,))
    with pytest.raises(UserError, match="no record of the tokens at which its model's answers end"):
        part_of(run)
    (run / "stages").mkdir()
    says = {"end_ids": [1, 107]}
    (run / record).write_text(json.dumps(says if record == "origin.json" else {"inputs": says}))
    assert part_of(run).end_ids == (1, 107)


def test_without_either_a_run_has_no_model(tmp_path):
    with pytest.raises(UserError, match="neither a checkpoint nor an exported model") as refused:
        part_of(a_run(tmp_path))
    assert refused.value.remedy is not None
    assert "training.export=[hf]" in refused.value.remedy
