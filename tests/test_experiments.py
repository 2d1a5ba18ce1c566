"""Every experiment runs from its first line to verified evidence, at toy size and off line."""

import pytest

from tests.composing import composed, options
from tests.running import read_json, run
from tunix_exp.config import leaves, validate
from tunix_exp.data.generators import checked
from tunix_exp.data.generators.slips import KINDS
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
# The arms of a study, the first of them with the question; the others are its controls.
ARMS = {
    "m45": ("curriculum", "last", "reversed", "shuffled"),
    "m46": ("self-correction", "plain", "restated"),
    "m47": ("error-awareness", "pairs", "share-0", "share-10", "share-30"),
}
STUDIES = [f"{study}-{arm}" for study, arms in ARMS.items() for arm in arms]
# What it takes to run an experiment here; those made for here take nothing but the session's device.
TOYS: dict[str, tuple[str, ...]] = {
    "m24-distilgpt2": (*OFF_LINE, *SMALL, *SHORT),
    "m24-distilgpt2-lora": (*OFF_LINE, *SMALL, *SHORT),
    "m36-smoke": (),
    "m37-tpu-gemma": (*OFF_LINE, *SMALL, *GEMMA, *SHORT, "eval.heldout_every_steps=1"),
    "m40-gpu-gpt2": (*OFF_LINE, *SMALL, *SHORT),
    "m43-gpu-gemma": (*OFF_LINE, *SMALL, *GEMMA, *SHORT),
    **dict.fromkeys(STUDIES, ("mode=smoke", *OFF_LINE, *SMALL, *GEMMA)),
    "m47-error-awareness": (*OFF_LINE, *SMALL, *GEMMA, *SHORT),
    "m48-failures": (*OFF_LINE, *SMALL, *GEMMA, *SHORT, "eval.heldout_every_steps=1"),
    "nano-mix": (*SMALL, "training.steps=2", "optim.warmup_steps=1", "eval.max_items=3"),
    "nano-tags": (*SMALL, "training.steps=2", "optim.warmup_steps=1", "eval.max_items=3"),
    "tiny-m37-tpu-gemma": (),
    "tiny-m40-gpu-gpt2": (),
    "tiny-m43-gpu-gemma": (),
    **dict.fromkeys((f"tiny-{name}" for name in STUDIES), ("mode=smoke",)),
    "tiny-m48-failures": ("mode=smoke",),
}
# These ask the question of another model and of its own rows.
OF_OTHER_ROWS = {*(f"tiny-{name}" for name in STUDIES), "tiny-m48-failures"}
# They differ from the arm with the question in their rows and steps alone.
CONTROLS = {
    f"{size}{study}-{arm}" for size in ("", "tiny-") for study, arms in ARMS.items() for arm in arms[1:]
}


def lead_of(control: str) -> str:
    """The arm with the question that the control belongs to."""
    size, study = control[: control.index("m4")], control[control.index("m4") :][:3]
    return f"{size}{study}-{ARMS[study][0]}"


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
    assert len(TOYS) == 37
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
def test_a_control_is_the_arm_with_the_question_in_all_but_the_rows(name):
    arm, lead = (dict(leaves(composed(f"experiment={each}"))) for each in (name, lead_of(name)))
    changed = {key for key in arm.keys() | lead.keys() if arm.get(key) != lead.get(key)}
    rows = {"name", "data.name", "data.source", "data.mix", "data.only", "training.steps"}
    rows |= {"data.fields.reasoning"} if "m46" in name else set()
    assert {key for key in changed if not key.startswith(("data.mix.", "data.only."))} <= rows


@pytest.mark.parametrize("name", sorted(one for one in CONTROLS if "m45" in one))
def test_a_control_of_a_curriculum_has_its_rows_as_often(name):
    mine, theirs = (composed(f"experiment={each}")["data"]["mix"] for each in (name, lead_of(name)))
    if mine is None:
        assert composed(f"experiment={name}")["data"]["only"] == list(theirs.values())[-1]["only"]
        return
    assert {
        one: sum(by for key, by in part.items() if key in ("steps", "weight")) for one, part in mine.items()
    } == {one: part["steps"] for one, part in theirs.items()}


def test_the_arms_of_self_correction_see_the_same_number_of_tokens():
    rows = checked.nano_rows()
    seen = {}
    for arm in ARMS["m46"]:
        config = composed(f"experiment=tiny-m46-{arm}")
        texts = ("\n".join((row["question"], *row[config["data"]["fields"]["reasoning"]])) for row in rows)
        # byte tokens, and what stands around steps and answer is the same in every arm
        around = sum(len(f"\nAnswer: {row['answer']}") + 1 for row in rows)
        seen[arm] = config["training"]["steps"] * (sum(map(len, texts)) + around) / len(rows)
    assert max(seen.values()) <= 1.005 * min(seen.values())


@pytest.mark.parametrize(("arm", "share", "half"), [
    ("error-awareness", 50, "b"), ("pairs", 50, "a"), ("share-10", 10, "b"), ("share-30", 30, "b"),
])  # fmt: skip
@pytest.mark.parametrize("size", ["", "tiny-"])
def test_an_arm_of_error_awareness_has_its_share_of_faulty_traces(size, arm, share, half):
    mix = composed(f"experiment={size}m47-{arm}")["data"]["mix"]
    assert {name: part["weight"] for name, part in mix.items()} == {"clean": 100 - share, "faulty": share}
    assert mix["clean"]["only"] == {"slip": ["clean"], "half": ["a"]}
    assert mix["faulty"]["only"] == {"slip": list(KINDS), "half": [half]}


def test_the_preflight_of_m37_needs_no_tpu_because_it_names_the_chips():
    config = validate(composed("experiment=m37-tpu-gemma", "mode=preflight"))
    assert (config.device.topology, config.device.min_devices) == ("v5e:2x4", 8)


@pytest.mark.parametrize(("name", "platform"), [("m37-tpu", "tpu"), ("m40-gpu", "gpu"), ("m43-gpu", "gpu")])
def test_an_experiment_for_an_accelerator_asks_for_it_and_never_for_whatever_is_there(name, platform):
    [found] = [option for option in TOYS if option.startswith(name)]
    assert validate(composed(f"experiment={found}")).device.platform == platform
