"""Every experiment runs from its first line to verified evidence, at toy size and off line."""

import pytest

from tests.composing import composed, options
from tests.running import read_json, run
from tunix_exp.config import leaves, validate
from tunix_exp.evidence.verify import verify

HERE = ("device=cpu", "device.compilation_cache=null", "device.min_devices=1")
OFF_LINE = ("model.weights=random", "model.tokenizer=bundled:bytes", "model.vocab_size=257")
SMALL = ("model.width=16", "model.mlp_width=32", "model.num_layers=2", "model.num_heads=2")
GEMMA = ("model.num_key_heads=1", "model.head_width=8", "model.query_pre_attn_scalar=8")
# A byte tokenizer makes a text three to four times as long as the model's own.
SHORT = (
    "data.too_long=drop", "data.max_tokens=160", "training.steps=2", "training.batch_size=2",
    "optim.warmup_steps=1", "eval.max_items=3", "eval.max_new_tokens=4",
)  # fmt: skip
ARMS = ("curriculum", "last", "reversed", "shuffled")
# What it takes to run an experiment here; those made for here take nothing but the session's device.
TOYS: dict[str, tuple[str, ...]] = {
    "m24-distilgpt2": (*OFF_LINE, *SMALL, *SHORT),
    "m36-smoke": (),
    "m37-tpu-gemma": (*OFF_LINE, *SMALL, *GEMMA, *SHORT, "eval.heldout_every_steps=1"),
    "m40-gpu-gpt2": (*OFF_LINE, *SMALL, *SHORT),
    "m43-gpu-gemma": (*OFF_LINE, *SMALL, *GEMMA, *SHORT),
    **dict.fromkeys((f"m45-{arm}" for arm in ARMS), ("mode=smoke", *OFF_LINE, *SMALL, *GEMMA)),
    "m48-failures": (*OFF_LINE, *SMALL, *GEMMA, *SHORT, "eval.heldout_every_steps=1"),
    "nano-mix": ("training.steps=2", "optim.warmup_steps=1", "eval.max_items=3"),
    "nano-tags": ("training.steps=2", "optim.warmup_steps=1", "eval.max_items=3"),
    "tiny-m37-tpu-gemma": (),
    "tiny-m40-gpu-gpt2": (),
    "tiny-m43-gpu-gemma": (),
    **dict.fromkeys((f"tiny-m45-{arm}" for arm in ARMS), ("mode=smoke",)),
    "tiny-m48-failures": ("mode=smoke",),
}
# These ask the question of another model and of its own rows.
OF_OTHER_ROWS = {*(f"tiny-m45-{arm}" for arm in ARMS), "tiny-m48-failures"}
# They differ from their curriculum in the order and the number of rows alone.
CONTROLS = {f"{size}m45-{arm}" for size in ("", "tiny-") for arm in ARMS if arm != "curriculum"}
# A tiny experiment differs from the one whose path it tries out in these keys alone.
SIZES = {
    "name",
    "model",
    "device",
    "data.max_tokens",
    "data.too_long",
    "eval.max_items",
    "eval.max_new_tokens",
}
SIZES |= {"training.steps", "optim.warmup_steps", "optim.peak_lr", "eval.heldout_every_steps"}


def test_every_experiment_is_in_the_table():
    assert len(TOYS) == 20
    assert options("experiment") == sorted(TOYS)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in TOYS if name not in CONTROLS])
def test_an_experiment_runs_to_verified_evidence(name, tmp_path):
    folder = tmp_path / "run"
    assert run(folder, f"experiment={name}", *HERE, *TOYS[name]) == 0
    manifest = read_json(folder / "run_manifest.json")
    assert manifest["status"] == "completed"
    assert manifest["name"] == name
    assert manifest["model"]["weights"] == "random"
    assert manifest["headline"] is not None
    assert verify(folder) == []


@pytest.mark.parametrize(
    "name", [name for name in TOYS if name.startswith("tiny-") and name not in OF_OTHER_ROWS]
)
def test_a_tiny_experiment_is_its_large_one_in_all_but_sizes(name):
    tiny, large = (dict(leaves(composed(f"experiment={each}"))) for each in (name, name[len("tiny-") :]))
    changed = {key for key in tiny.keys() | large.keys() if tiny.get(key) != large.get(key)}
    assert {key for key in changed if key not in SIZES and key.split(".")[0] not in SIZES} == set()
    assert tiny["device.platform"] == "cpu"
    assert tiny["model.weights"] == "random"
    assert tiny["model.tokenizer"].startswith("bundled:")


@pytest.mark.parametrize("name", sorted(CONTROLS))
def test_a_control_is_its_curriculum_in_all_but_the_rows(name):
    size = name.rpartition("-")[0]
    arm, curriculum = (dict(leaves(composed(f"experiment={each}"))) for each in (name, f"{size}-curriculum"))
    changed = {key for key in arm.keys() | curriculum.keys() if arm.get(key) != curriculum.get(key)}
    rows = {"name", "data.name", "data.source", "data.mix", "data.only", "training.steps"}
    assert {key for key in changed if not key.startswith(("data.mix.", "data.only."))} <= rows
    mine, theirs = (composed(f"experiment={each}")["data"]["mix"] for each in (name, f"{size}-curriculum"))
    if mine is None:
        assert composed(f"experiment={name}")["data"]["only"] == list(theirs.values())[-1]["only"]
        return
    assert {
        one: sum(by for key, by in part.items() if key in ("steps", "weight")) for one, part in mine.items()
    } == {one: part["steps"] for one, part in theirs.items()}


def test_the_preflight_of_m37_needs_no_tpu_because_it_names_the_chips():
    config = validate(composed("experiment=m37-tpu-gemma", "mode=preflight"))
    assert (config.device.topology, config.device.min_devices) == ("v5e:2x4", 8)


@pytest.mark.parametrize(("name", "platform"), [("m37-tpu", "tpu"), ("m40-gpu", "gpu"), ("m43-gpu", "gpu")])
def test_an_experiment_for_an_accelerator_asks_for_it_and_never_for_whatever_is_there(name, platform):
    [found] = [option for option in TOYS if option.startswith(name)]
    assert validate(composed(f"experiment={found}")).device.platform == platform
