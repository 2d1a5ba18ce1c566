"""The config tree and the classes that read it are one."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.composing import GROUPS, TWO_SETS, composed, options, with_sets
from tests.objectives.registering import registered
from tunix_exp.cli import conf_folder
from tunix_exp.config import RULES, RunConfig, classes, known_keys, leaves, validate
from tunix_exp.errors import UserError
from tunix_exp.schema import written

ALL_OPTIONS = [(group, option) for group in GROUPS for option in options(group)]
EXPERIMENTS = options("experiment")
README = Path(__file__).parents[1] / "README.md"


def test_every_group_and_experiment_was_found():
    assert len(ALL_OPTIONS) >= 30
    assert len(EXPERIMENTS) >= 2
    folders = {path.name for path in conf_folder().iterdir() if path.is_dir()}
    assert folders == {*GROUPS, "experiment", "sizes", "template", "hydra"}


@pytest.mark.parametrize(("group", "option"), ALL_OPTIONS)
def test_every_option_composes_and_validates(group, option):
    plain = composed(*with_sets(f"{group}={option}"))
    config = validate(plain)
    assert getattr(config, group) is not None


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_composes_and_opens_as_a_document(name):
    assert validate(composed(f"experiment={name}")).name == name
    text = (conf_folder() / "experiment" / f"{name}.yaml").read_text()
    for word in ("# Question", f"# Command    python -m tunix_exp experiment={name}", "# Expected"):
        assert word in text


@pytest.mark.parametrize("group", [group for group in GROUPS if group != "model"])
def test_the_readme_lists_every_option(group):
    (row,) = re.findall(rf"^\| `{group}` \| (.+) \|$", README.read_text(), flags=re.MULTILINE)
    assert sorted(re.findall(r"`([^`]+)`", row)) == options(group)


@pytest.mark.parametrize("name", options("template"))
def test_every_template_sets_keys_of_the_data_s_template_alone(name):
    plain, chosen = composed(), composed(f"template={name}")
    validate(chosen)
    differing = {key for key, value in leaves(chosen) if dict(leaves(plain))[key] != value}
    assert differing
    assert all(key.startswith("data.template.") for key in differing)


# `model=hf` has no class before its folder is known (tests/models/test_from_folder.py).
WHOLE = [o for o in ALL_OPTIONS if o[0] != "mode" and o != ("model", "hf")]


@pytest.mark.parametrize(("group", "option"), WHOLE)
def test_an_option_file_spells_every_field_of_its_class(group, option):
    document = yaml.safe_load((conf_folder() / group / f"{option}.yaml").read_text())
    body = document[group] if "defaults" in document or group in document else document
    written = {key for key, _ in leaves(body)}
    fields = {key.removeprefix(f"{group}.") for key in known_keys() if key.startswith(f"{group}.")}
    assert written <= fields
    member = [c for c in classes(RunConfig.model_fields[group].annotation) if _matches(c, body)]
    assert len(member) == 1
    inner = {
        k for k in known_keys(member[0]) if not any(o.startswith(f"{k}.") for o in known_keys(member[0]))
    }
    assert written == inner


def _matches(cls, body):
    for tag in ("family", "kind", "name"):
        field = cls.model_fields.get(tag)
        literal = getattr(field.annotation, "__args__", None) if field else None
        if literal and all(isinstance(value, str) for value in literal):
            return body.get(tag) in literal
    return True


def test_interpolations_and_targets_stand_in_the_root_alone():
    for path in conf_folder().rglob("*.yaml"):
        inside = path.relative_to(conf_folder())
        if inside.parts[0] in ("config.yaml", "hydra"):
            continue
        assert "${" not in path.read_text(), inside
        assert "_target_" not in path.read_text(), inside


def test_a_model_chooses_its_training_and_the_command_line_wins():
    assert composed()["training"]["steps"] == 400
    assert composed("model=gpt2")["training"]["steps"] == 300
    assert composed("training=finetune")["training"]["steps"] == 300
    assert composed("optim=lion")["optim"]["name"] == "lion"


def test_smoke_wins_over_an_experiment_s_sizes_and_the_command_line_over_smoke():
    assert composed("experiment=m24-distilgpt2")["training"]["steps"] == 40
    assert composed("experiment=m24-distilgpt2", "mode=smoke")["training"]["steps"] == 2
    assert composed("mode=smoke", "training.steps=3")["training"]["steps"] == 3


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        (["+optim.peak_rl=1"], "`optim.peak_rl` is not a key — did you mean `optim.peak_lr`?"),
        (
            ["+batch_size=1"],
            "`batch_size` is not a key — did you mean `eval.batch_size` or `training.batch_size`?",
        ),
        (["model.num_heads=7"], "`model.width=128` and `model.num_heads=7` cannot be combined: the heads"),
        (["seed=abc"], "`seed` = 'abc': input should be a valid integer"),
        (["training.batch_size=0"], "`training.batch_size` = 0: input should be greater than or equal to 1"),
        (["optim.peak_lr=fast"], "`optim.peak_lr` = 'fast': input should be a valid number"),
        (
            ["training.bucket_widths=[64,32]"],
            "[64, 32] is neither a number of widths nor a list of ascending",
        ),
        (["training.bucket_widths=0"], "`training.bucket_widths`: 0 is neither a number of widths nor"),
        (["training.export=[hf,hf]"], "`training.export`: ['hf', 'hf'] names a form twice"),
        (["training.export=[gguf]"], "`training.export.0` = 'gguf': input should be 'hf' or 'peft'"),
        (["optim.schedule=cosin"], "`optim.schedule` = 'cosin': input should be 'constant', 'linear'"),
        (["~optim.b1"], "`optim.b1` is missing"),
        (["eval=harness", "eval.tasks=[]"], "`eval.tasks` = []: tuple should have at least 1 item"),
        (["eval=harness", "eval.tasks=[arc_easy,piqa,piqa]"], "`eval.tasks`: piqa is named twice"),
        (["data.source=data"], "`data.source`: `data` means the held-out rows of the training set"),
        (
            ["data=mix", "data.mix=null"],
            "`data.source=null` and `data.mix=null` cannot be combined: one of them is the",
        ),
        (["data=mix", "data.mix={a:{source:a.csv,weight:1}}"], "`data.mix` = {'a': {'"),
        (
            ["data=mix", "data.mix={a:{source:a.csv,weight:1},b:{source:b.csv,wieght:1}}"],
            "`data.mix.b.wieght` is not a key",
        ),
        (
            ["data=mix", "data.mix={a:{source:a.csv,weight:1},b:{source:b.csv}}"],
            "`data.mix.b`: the set has neither a weight, by which it is mixed with the others, nor steps or",
        ),
        (
            ["data=mix", "data.mix={a:{source:a.csv,steps:1},b:{source:b.csv,steps:1,epochs:2}}"],
            "`data.mix.b.steps=1` and `data.mix.b.epochs=2.0` cannot be combined: a set has one of weight",
        ),
        (
            ["data=mix", "data.mix={a:{source:a.csv,weight:1},b:{source:b.csv,steps:3}}"],
            "`data`: some sets of data.mix have weights and some are stages: give all of them a weight",
        ),
        (
            ["data=mix", "data.mix={a:{source:a.csv,weight:0},b:{source:b.csv,weight:1}}"],
            "`data.mix.a.weight` = 0: input should be greater than 0",
        ),
        (
            ["data=mix", "data.mix={a:{source:a.csv,weight:'3'},b:{source:b.csv,weight:true}}"],
            "`data.mix.a.weight` = '3': input should be a valid number\n"
            "`data.mix.b.weight` = True: input should be a valid number",
        ),
        (
            ["data=mix", "data.mix={a/b:{source:a.csv,weight:1},b:{source:b.csv,weight:1}}"],
            "`data.mix.a/b.[key]` = 'a/b': string should match pattern",
        ),
        (["eval=split", "eval.share=null"], "`eval.source=data` and `eval.share=null` cannot be combined"),
        (["eval=split", "eval.share=1"], "`eval.share` = 1: input should be less than 1"),
        (
            ["eval=split", "eval.format=alpaca"],
            "`eval.source=data` and `eval.format=alpaca` cannot be combined: rows that are held out are read"
            " like all of the training set, as data.format says; set eval.format=auto",
        ),
        (
            ["eval=split", "eval.fields.section=part"],
            "as data.fields.section says; set eval.fields.section=null",
        ),
        (
            ["eval=split", "eval.fields.strip_calculator_marks=true"],
            "set eval.fields.strip_calculator_marks=false",
        ),
        (["training.epochs=1"], "`training.steps=400` and `training.epochs=1.0` cannot be combined"),
    ],
)
def test_a_wrong_config_is_refused_by_key(overrides, text):
    with pytest.raises(UserError) as caught:
        validate(composed(*overrides))
    assert text in str(caught.value)


def test_every_fault_is_named_at_once():
    with pytest.raises(UserError) as caught:
        validate(composed("seed=-1", "training.batch_size=0", "+bogus=1"))
    for key in ("`seed`", "`training.batch_size`", "`bogus`"):
        assert key in str(caught.value)


STAGES = "data.mix={a:{source:a.csv,steps:2},b:{source:b.csv,steps:4}}"
CONTRADICTIONS = {
    "training.steps, training.epochs": ["training.steps=null"],
    "training.steps, training.epochs, data.mix": ["data=mix", STAGES, "training.steps=5"],
    "optim.schedule_per, data.mix": ["optim.schedule_per=stage"],
    "training.batch_size, optim.accumulation_steps": ["optim.accumulation_steps=3"],
    "training.batching, training.bucket_widths": ["training.batching=packed", "training.bucket_widths=4"],
    "training.bucket_widths, data.max_tokens": [
        "training.batching=buckets", "training.bucket_widths=[16,32]",
    ],
    "training.stop_at_step, training.steps": ["training.stop_at_step=400"],
    "optim.schedule, optim.final_lr_ratio": ["optim.schedule=constant"],
    "optim.schedule, optim.wsd_decay_fraction": ["optim.schedule=wsd"],
    "adapter.targets, model.family": ["adapter=lora", "adapter.targets=[attention,q_proj]"],
    "training.export, adapter.name": ["training.export=[peft]"],
    "training.export, model.family": [
        "model=tiny-gemma", "training.export=[hf]", "model.query_pre_attn_scalar=7",
    ],
    "model.quantize, adapter.name": ["model.quantize=nf4"],
    "training.export, model.quantize": ["adapter=lora", "model.quantize=int8", "training.export=[hf]"],
    "training.export, training.export_dtype": ["training.export_dtype=bfloat16"],
    "mode.name, adapter.name, adapter.weights": ["mode=eval", "adapter=lora"],
    "data.max_tokens, model.num_positions": ["model.num_positions=32", "eval.max_new_tokens=16"],
    "eval.max_new_tokens, model.num_positions": ["eval.max_new_tokens=4096"],
    "data.mix, objective.name": [
        "data=mix", "objective.name=unlikelihood", "+objective.avoid=a", "+objective.weight=1.0",
    ],
    "data.mix, eval.share": ["data=mix", "eval=split"],
    "eval.source, eval.share": ["eval.share=0.1"],
    "eval.apply_chat_template, data.template.chat": [
        "model=gpt2", "eval=harness", "eval.apply_chat_template=true",
    ],
    "eval.fewshot_as_multiturn, eval.apply_chat_template": [
        "model=gpt2", "eval=harness", "eval.fewshot_as_multiturn=true",
    ],
    "eval.heldout_every_steps, mode.name": ["mode=eval", "eval.heldout_every_steps=5"],
    "eval.baseline, eval.baseline_tolerance_points": ["eval.baseline=./run"],
    "mode.name, eval.kind": ["mode=eval", "eval=none"],
    "device.distributed.coordinator, mode.name": ["device.distributed.coordinator=auto", "mode=preflight"],
    "device.distributed.coordinator, eval.kind": ["device.distributed.coordinator=auto", "eval=harness"],
    "device.param_dtype, device.state_dtype, adapter.name, optim.rounding": ["device.param_dtype=bfloat16"],
    "optim.rounding, device.param_dtype, device.state_dtype, adapter.name": [
        "adapter=lora", "device.param_dtype=bfloat16", "optim.rounding=stochastic",
    ],
    "device.param_dtype, device.state_dtype": [
        "optim=sgd", "optim.momentum=0", "optim.nesterov=false", "device.state_dtype=bfloat16",
        "optim.rounding=stochastic",
    ],
}  # fmt: skip


def test_sizes_touch_what_is_there_alone():
    assert composed("mode=smoke", "eval=none")["eval"] == {"kind": "none", "name": "none"}
    assert composed("mode=smoke", "eval=harness")["eval"]["max_items"] == 4
    assert composed("mode=eval", "eval=nano-eval")["eval"]["heldout_every_steps"] is None
    assert "heldout_every_steps" not in composed("mode=eval", "eval=harness")["eval"]
    assert "heldout_every_steps" not in composed("experiment=m37-tpu-gemma", "eval=none")["eval"]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (
            ["mode=smoke", "eval=none", "eval.max_items=3"],
            "`eval.max_items` is a key of eval.kind=items and eval.kind=harness, and another option",
        ),
        (
            ["optim=lion", "+optim.eps=1e-8"],
            "`optim.eps` is a key of optim.name=adamw and",
        ),
    ],
)
def test_a_typed_key_of_an_option_that_is_not_chosen_is_refused(words, text):
    with pytest.raises(UserError) as caught:
        validate(composed(*words))
    assert text in str(caught.value)
    assert "did you mean" not in str(caught.value)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.keys)
def test_every_contradiction_is_refused_with_keys_values_and_remedy(rule):
    with registered("unlikelihood"), pytest.raises(UserError) as caught:
        validate(composed(*with_sets(*CONTRADICTIONS[rule.keys])))
    config = composed(*with_sets(*CONTRADICTIONS[rule.keys]))
    for key in rule.keys.split(", "):
        value: Any = config
        for part in key.split("."):
            value = value[part]
        assert f"`{key}={written(value)}`" in str(caught.value)
    assert rule.says in str(caught.value)


def test_a_set_of_a_mixture_has_what_it_leaves_out_from_the_group():
    plain = composed(
        "data=mix", TWO_SETS,
        "data.max_rows=7", "data.only={lang:[en]}", "data.format=alpaca", "data.fields.id=key",
        "+data.mix.one.only=null", "+data.mix.two.max_rows=3", "+data.mix.two.format=auto",
    )  # fmt: skip
    one, two = validate(plain).data.sets.values()
    assert (one.max_rows, one.only, one.format, one.fields.id) == (7, None, "alpaca", "key")
    assert (two.max_rows, two.only, two.format) == (3, {"lang": ("en",)}, "auto")
    assert (two.fields.id, two.fields.question, two.fields.answer) == ("key", "q", "a")
    # What is recorded is what was typed.
    assert plain["data"]["mix"]["two"].keys() == {"source", "weight", "fields", "max_rows", "format"}


def test_a_config_cannot_be_changed_once_made():
    with pytest.raises(Exception, match="frozen"):
        validate(composed()).optim.peak_lr = 1.0


@pytest.mark.parametrize(
    ("words", "fits"),
    [
        (["training.steps=6"], True),
        (["training.steps=null", "training.epochs=1"], True),
        (["training.steps=null", "training.epochs=2"], False),
        (["training.steps=7"], False),
        (["training.steps=5"], False),
        (["training.steps=5", "mode=smoke"], True),  # its sizes say how many
        (["training.steps=5", "mode=eval", "eval.heldout_every_steps=null"], True),
    ],
)
def test_the_budget_is_that_of_the_stages(words, fits):
    plain = composed("data=mix", STAGES, *words)
    if fits:
        validate(plain)
        return
    with pytest.raises(UserError, match=r"the stages are the budget: set training\.steps=null"):
        validate(plain)
