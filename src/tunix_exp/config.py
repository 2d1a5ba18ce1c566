"""`RunConfig`: the sum of the groups' configs, and the checks between them.

Whatever the command line says ends here, as plain values, or is refused with every fault at once.
"""

import functools
import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import AfterValidator, BeforeValidator, SerializeAsAny, ValidationError
from pydantic_core import ErrorDetails

from tunix_exp.data.config import DataConfig
from tunix_exp.data.render import Renderer
from tunix_exp.device.config import DeviceConfig
from tunix_exp.errors import UserError, did_you_mean, nearest
from tunix_exp.evaluation.config import EvalConfig, HarnessEvalConfig, ItemsEvalConfig
from tunix_exp.models.adapter import AdapterConfig, LoRAConfig, target_names, unknown_targets
from tunix_exp.models.families.registry import AnyModelConfig, weight_maps
from tunix_exp.models.weight_map import is_expressible
from tunix_exp.objectives import registry
from tunix_exp.objectives.registry import ObjectiveConfig
from tunix_exp.schema import CONTRADICT, Config, Seed, contradiction, listed, shown, written
from tunix_exp.training.config import OptimConfig, TrainingConfig

Plain = dict[str, Any]


class ModeConfig(Config):
    """How much of the run is done: `smoke` differs from `full` in sizes alone (conf/sizes/)."""

    name: Literal["full", "smoke", "eval", "preflight"]

    @property
    def trains(self) -> bool:
        """Whether parameters are updated."""
        return self.name in ("full", "smoke")

    @property
    def computes(self) -> bool:
        """Whether weights are loaded at all."""
        return self.name != "preflight"


_MOST_RUN_NAME = 210  # a file system's 255 bytes, with room for what launchers add


def _run_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", value) or len(value) > _MOST_RUN_NAME:
        raise ValueError(
            f"{shown(value)} names the run's directory: begin with a letter or digit, go on with letters,"
            f" digits, `.`, `_` and `-`, {_MOST_RUN_NAME} characters at most; name=… sets it, else it is"
            " model.name-data.name"
        )
    return value


RunName = Annotated[str, AfterValidator(_run_name)]


class RunConfig(Config):
    """Everything that decides what a run does."""

    name: RunName
    seed: Seed
    model: AnyModelConfig
    adapter: AdapterConfig
    data: DataConfig
    objective: Annotated[SerializeAsAny[ObjectiveConfig], BeforeValidator(registry.validated)]
    optim: OptimConfig
    training: TrainingConfig
    device: DeviceConfig
    eval: EvalConfig
    mode: ModeConfig


class Rule(NamedTuple):
    """Keys that cannot be combined when `broken` holds, and what to do about it."""

    keys: str
    broken: Callable[[RunConfig], bool]
    says: str


def _items(config: RunConfig) -> ItemsEvalConfig | None:
    return config.eval if isinstance(config.eval, ItemsEvalConfig) else None


def _is_of_stages(config: RunConfig) -> bool:
    """Whether the budget is that of the stages, or a smoke run's part of it."""
    steps, due = config.training.steps, config.data.steps_of_stages
    if steps is None:
        return config.training.epochs == 1
    if due is None:
        return config.mode.name == "smoke"
    return steps == sum(due) or (config.mode.name == "smoke" and steps < sum(due))


def _updates_bfloat16(config: RunConfig) -> bool:
    """Whether parameters that are trained, or what the optimizer keeps of them, are held in bfloat16."""
    device = config.device
    is_trained = not isinstance(config.adapter, LoRAConfig)
    return device.state_dtype == "bfloat16" or (is_trained and device.param_dtype == "bfloat16")


RULES: tuple[Rule, ...] = (
    Rule(
        "training.steps, training.epochs",
        lambda c: (c.training.steps is None) == (c.training.epochs is None),
        "exactly one of them is the budget; give it a number, and the other null",
    ),
    Rule(
        "training.steps, training.epochs, data.mix",
        lambda c: c.mode.name != "eval" and bool(c.data.stages) and not _is_of_stages(c),
        "the stages are the budget: set training.steps=null training.epochs=1; mode=smoke alone may"
        " end before the last of them",
    ),
    Rule(
        "optim.schedule_per, data.mix",
        lambda c: c.optim.schedule_per == "stage" and not c.data.stages,
        "the schedule begins anew with each stage, and there are none; give the sets of data.mix steps, or"
        " set optim.schedule_per=run",
    ),
    Rule(
        "training.batch_size, optim.accumulation_steps",
        lambda c: c.training.batch_size % c.optim.accumulation_steps != 0,
        "the batch is split into accumulation_steps equal parts; make it a multiple",
    ),
    Rule(
        "training.batching, training.bucket_widths",
        lambda c: (c.training.batching == "buckets") != (c.training.bucket_widths is not None),
        "widths belong to batching=buckets (their number, or a list of them) and to no other (null)",
    ),
    Rule(
        "training.bucket_widths, data.max_tokens",
        lambda c: (
            isinstance(c.training.bucket_widths, tuple)
            and c.data.max_tokens is not None
            and c.training.bucket_widths[-1] < c.data.max_tokens
        ),
        "the last width must hold an example of data.max_tokens; add one that does",
    ),
    Rule(
        "training.stop_at_step, training.steps",
        lambda c: (
            c.training.stop_at_step is not None
            and c.training.steps is not None
            and c.training.stop_at_step >= c.training.steps
        ),
        "a run that is to stop early must stop before its last step; use null to run to the end",
    ),
    Rule(
        "optim.schedule, optim.final_lr_ratio",
        lambda c: (c.optim.schedule == "constant") != (c.optim.final_lr_ratio is None),
        "a constant rate has no final ratio (null); every other schedule needs one",
    ),
    Rule(
        "optim.schedule, optim.wsd_decay_fraction",
        lambda c: (c.optim.schedule == "wsd") != (c.optim.wsd_decay_fraction is not None),
        "the decay fraction belongs to schedule=wsd and to no other (null)",
    ),
    Rule(
        "adapter.targets, model.family",
        lambda c: (
            isinstance(c.adapter, LoRAConfig)
            and any(unknown_targets(c.model.family, c.adapter.targets))
        ),
        "a target is a layer of the family or ends the name of one: "
        + "; ".join(f"{family}: {', '.join(target_names(family))}" for family in weight_maps()),
    ),
    Rule(
        "training.export, adapter.name",
        lambda c: "peft" in c.training.export and c.adapter.name == "none",
        "peft is the form of an adapter; train one with adapter=lora, or leave peft out",
    ),
    Rule(
        "model.quantize, adapter.name",
        lambda c: c.model.quantize is not None and not isinstance(c.adapter, LoRAConfig),
        "only frozen weights are quantized; train an adapter (adapter=lora), or set model.quantize=null",
    ),
    Rule(
        "training.export, model.quantize",
        lambda c: c.model.quantize is not None and "hf" in c.training.export,
        "a quantized model is no longer the one whose files were read; export peft, and merge it in PEFT into"
        " the model as it was",
    ),
    Rule(
        "training.export, model.family",
        lambda c: (
            "hf" in c.training.export
            and c.model.weights == "random"
            and not is_expressible(c.model, weight_maps()[c.model.family])
        ),
        "the family's config.json cannot express this model ("
        + "; ".join(f"{name}: {names.limits}" for name, names in weight_maps().items() if names.limits)
        + "); change these keys, or leave hf out",
    ),
    Rule(
        "training.export, training.export_dtype",
        lambda c: c.training.export_dtype is not None and "hf" not in c.training.export,
        "the dtype is that of an hf export; set it to null, or export hf too",
    ),
    Rule(
        "mode.name, adapter.name, adapter.weights",
        lambda c: (
            c.mode.name == "eval"
            and isinstance(c.adapter, LoRAConfig)
            and c.adapter.weights == "random"
        ),
        "mode=eval trains nothing, and a new adapter adds nothing; name the folder of a trained one",
    ),
    Rule(
        "data.max_tokens, model.num_positions",
        lambda c: c.data.max_tokens is not None and c.data.max_tokens > c.model.num_positions,
        "an example must fit the model's positions; data.max_tokens=null takes what they allow",
    ),
    Rule(
        "eval.max_new_tokens, model.num_positions",
        lambda c: (items := _items(c)) is not None and items.max_new_tokens >= c.model.num_positions,
        "the answer and a prompt must fit the model's positions; lower eval.max_new_tokens",
    ),
    Rule(
        "eval.source, eval.share",
        lambda c: (
            (items := _items(c)) is not None and (items.source == "data") != (items.share is not None)
        ),
        "a share of the training rows is held out where they are the source of the items (eval=split): set"
        " eval.source=data and a share between 0 and 1, or name another source and set eval.share=null",
    ),
    Rule(
        "data.mix, objective.name",
        lambda c: c.data.mix is not None and not c.objective.tells_sets_apart,
        "the objective does not report the sets of a mixture; choose one that does (objective=sft), or a"
        " data.source",
    ),
    Rule(
        "data.mix, eval.share",
        lambda c: c.data.mix is not None and (items := _items(c)) is not None and items.share is not None,
        "rows are held out of one set, not of several; name a file of items: eval=jsonl eval.source=FILE",
    ),
    Rule(
        "eval.apply_chat_template, data.template.chat",
        lambda c: isinstance(c.eval, HarnessEvalConfig) and c.eval.apply_chat_template
        and c.data.template.chat == "none",
        "prompts are written in the template that data.template.chat names; set it, or"
        " apply_chat_template=false",
    ),
    Rule(
        "eval.fewshot_as_multiturn, eval.apply_chat_template",
        lambda c: isinstance(c.eval, HarnessEvalConfig) and c.eval.fewshot_as_multiturn
        and not c.eval.apply_chat_template,
        "few-shot examples are messages of a conversation, which needs the chat template; set"
        " fewshot_as_multiturn=false",
    ),
    Rule(
        "eval.heldout_every_steps, mode.name",
        lambda c: (
            c.mode.name == "eval"
            and (items := _items(c)) is not None
            and items.heldout_every_steps is not None
        ),
        "mode=eval trains nothing, so that no held-out loss falls due; set it to null",
    ),
    Rule(
        "eval.baseline, eval.baseline_tolerance_points",
        lambda c: (
            (items := _items(c)) is not None
            and (items.baseline is None) != (items.baseline_tolerance_points is None)
        ),
        "a baseline needs the points of accuracy that may be lost, and they a baseline; set both, or null",
    ),
    Rule(
        "mode.name, eval.kind",
        lambda c: c.mode.name == "eval" and c.eval.kind == "none",
        "mode=eval needs something to score; choose an eval option other than none",
    ),
    Rule(
        "device.distributed.coordinator, mode.name",
        lambda c: c.device.distributed.is_wanted and c.mode.name == "preflight",
        "one process compiles for every device of a topology; name it in device.topology, and set the"
        " coordinator to null",
    ),
    Rule(
        "device.distributed.coordinator, eval.kind",
        lambda c: c.device.distributed.is_wanted and c.eval.kind == "harness",
        "the harness asks one process; train with another eval, and score the model that was exported, or the"
        " run, in one process: mode=eval model.weights=RUN",
    ),
    Rule(
        "device.param_dtype, device.state_dtype, adapter.name, optim.rounding",
        lambda c: c.mode.name != "eval" and c.optim.rounding == "nearest" and _updates_bfloat16(c),
        "bfloat16 keeps eight bits of a number, and an update that is smaller is lost to rounding; choose"
        " optim.rounding=stochastic, or hold it in float32 and compute in bfloat16 (device.compute_dtype)",
    ),
    Rule(
        "optim.rounding, device.param_dtype, device.state_dtype, adapter.name",
        lambda c: c.optim.rounding == "stochastic" and not _updates_bfloat16(c),
        "all that is updated is float32 (an adapter always is), and is not rounded: optim.rounding=nearest",
    ),
    Rule(
        "device.param_dtype, device.state_dtype",
        lambda c: c.device.param_dtype == "float32" and c.device.state_dtype == "bfloat16"
        and c.optim.name == "sgd" and c.optim.momentum == 0,
        "SGD without momentum keeps no state; leave device.state_dtype at float32",
    ),
)  # fmt: skip


def validate(plain: Mapping[str, Any]) -> RunConfig:
    """The typed config, or one `UserError` that lists every fault with its key."""
    try:
        config = RunConfig.model_validate(dict(plain))
    except ValidationError as error:
        raise UserError(
            "\n".join(_explained(error.errors(include_url=False))),
            where="config",
            remedy="`python -m tunix_exp --cfg job` shows every key with its value",
        ) from None
    Renderer(config.data.template)  # refuses a template that no example can be put into
    broken = [rule for rule in RULES if rule.broken(config)]
    says = [
        contradiction({key: value_at(config, key) for key in rule.keys.split(", ")}, rule.says)
        for rule in broken
    ] + [*_within_a_batch(config), *_read_as_training_rows(config)]
    if says:
        raise UserError("\n".join(says), where="config")
    return config


def _within_a_batch(config: RunConfig) -> Iterator[str]:
    """Every end, save or stop that would fall between two updates on one batch."""
    name, updates = config.objective.name, config.objective.updates
    for key in ("training.steps", "training.save_every_steps", "training.stop_at_step"):
        steps = value_at(config, key)
        if steps is not None and steps % updates != 0:
            yield contradiction(
                {key: steps, "objective.name": name},
                f"the objective takes {updates} updates on each batch, and a run saves and ends between"
                f" batches; make {key} a multiple of {updates}",
            )


def _read_as_training_rows(config: RunConfig) -> Iterator[str]:
    """Every key by which items would be read otherwise than the training rows that they are."""
    items = _items(config)
    if items is None or items.source != "data":
        return
    unset = {"format": "auto", "fields.strip_calculator_marks": False}
    for key, value in leaves(items.model_dump(include={"format", "fields"})):
        due = unset.get(key)
        if value != due:
            yield contradiction(
                {"eval.source": items.source, f"eval.{key}": value},
                f"rows that are held out are read like all of the training set, as data.{key} says; set"
                f" eval.{key}={written(due)}",
            )


def is_of_another_option(plain: Mapping[str, Any], key: str) -> bool:
    """Whether some option of the key's group has the key, and the chosen one has not."""
    group = key.split(".")[0]
    if key not in known_keys() or not isinstance(plain[group], Mapping):
        return False
    chosen = [
        variant
        for variant in classes(RunConfig.model_fields[group].annotation)
        if any(tag in plain[group] and plain[group][tag] == word for tag, word in _tagged(variant))
    ]
    return len(chosen) == 1 and key not in known_keys(chosen[0], f"{group}.")


def value_at(config: Config, key: str) -> Any:
    """The value under a dotted key; `None` where a variant of the group has no such key."""
    value: Any = config
    for part in key.split("."):
        value = getattr(value, part) if part in type(value).model_fields else None
    return value


def leaves(plain: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every dotted leaf key with its value."""
    for key, value in plain.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def classes(annotation: Any) -> Iterator[type[Config]]:
    """The config classes that an annotation admits: one, the members of a union, or those of a registry."""
    if annotation is ObjectiveConfig:
        yield from registry.config_classes()
    elif isinstance(annotation, type) and issubclass(annotation, Config):
        yield annotation
    elif get_origin(annotation) is dict:
        return  # whatever its values are, its keys are none of ours
    elif get_origin(annotation) in (Annotated, Union) or get_args(annotation):
        for member in get_args(annotation):
            yield from classes(member)


@functools.cache
def known_keys(cls: type[Config] = RunConfig, prefix: str = "") -> frozenset[str]:
    """Every dotted key that some config may hold."""
    keys: set[str] = set()
    for name, field in cls.model_fields.items():
        members = list(classes(field.annotation))
        keys.add(f"{prefix}{name}")
        for member in members:
            keys |= known_keys(member, f"{prefix}{name}.")
    return frozenset(keys)


def _near_keys(key: str) -> str:
    """A question that names the keys that are meant by one that is not there; nothing when none is near."""
    known = sorted(known_keys())
    leaves_of = {
        name: [k for k in known if k.rsplit(".", 1)[-1] == name]
        for name in (k.rsplit(".", 1)[-1] for k in known)
    }
    last = key.rsplit(".", 1)[-1]
    whole = nearest(key, known, cutoff=0.85)
    leaf = last if last in leaves_of else nearest(last, leaves_of, cutoff=0.75)
    return did_you_mean(*([whole] if whole else leaves_of[leaf][:3] if leaf else []))


def unknown(key: str) -> str:
    """What is wrong with a key that the config does not have."""
    group = key.split(".")[0]
    variants = classes(RunConfig.model_fields[group].annotation) if group in RunConfig.model_fields else ()
    owners = [
        f"{group}.{tag}={word}"
        for variant in variants
        if key in known_keys(variant, f"{group}.")
        for tag, word in _tagged(variant)
    ]
    if owners:
        return f"`{key}` is a key of {listed(owners)}, and another option of `{group}` is chosen"
    return f"`{key}` is not a key{_near_keys(key)}"


def _explained(faults: list[ErrorDetails]) -> list[str]:
    """A line for each key, with all that is wrong with its value."""
    lines = []
    for key, group in itertools.groupby(faults, key=_key):
        first, *others = group
        lines.append(", or ".join(dict.fromkeys([_explain(key, first), *map(_says, others)])))
    return lines


def _key(fault: ErrorDetails) -> str:
    """The key that the user typed: without a union's tags and types, which pydantic puts among its parts."""
    key, last = "", len(fault["loc"]) - 1
    for place, part in enumerate(fault["loc"]):
        longer = f"{key}.{part}" if key else str(part)
        is_unknown = fault["type"] == "extra_forbidden" and place == last
        is_of_own_name = key == _OWN_NAMES or key.startswith(f"{_OWN_NAMES}.")
        if isinstance(part, int) or longer in known_keys() or is_unknown or is_of_own_name:
            key = longer
    if fault["type"].startswith("union_tag"):
        assert "ctx" in fault
        return f"{key}.{fault['ctx']['discriminator'].strip(_QUOTE)}"
    return key


_QUOTE = "'"
_OWN_NAMES = "data.mix"  # whose keys are the user's own names


def _explain(key: str, fault: ErrorDetails) -> str:
    match fault["type"]:
        case "extra_forbidden":
            return unknown(key)
        case "value_error":
            says = _says(fault)
            if CONTRADICT not in says:
                return f"`{key}`: {says}"
            group = key if isinstance(fault["input"], Mapping) else key.rpartition(".")[0]
            return re.sub(r"`(\w+=)", rf"`{group}.\1", says)
        case "missing" | "union_tag_not_found":
            return f"`{key}` is missing"
        case "union_tag_invalid":
            assert "ctx" in fault
            return f"`{key}` = {shown(fault['ctx']['tag'])}: {_says(fault)}"
    return f"`{key}` = {shown(fault['input'])}: {_says(fault)}"


def _says(fault: ErrorDetails) -> str:
    if fault["type"] == "value_error":
        return fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "union_tag_invalid":
        assert "ctx" in fault
        return f"input should be one of {fault['ctx']['expected_tags']}"
    return f"{fault['msg'][0].lower()}{fault['msg'][1:]}"


def _tagged(cls: type[Config]) -> list[tuple[str, str]]:
    """The tags by which a class is chosen among the variants of its group: `[("kind", "items")]`."""
    return [
        (tag, word)
        for tag in ("family", "kind", "name")
        if tag in cls.model_fields and get_origin(cls.model_fields[tag].annotation) is Literal
        for word in get_args(cls.model_fields[tag].annotation)
    ][:1]
