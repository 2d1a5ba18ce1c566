"""What the manifest says of a run, as names and values: README, model card and page render the same ones."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tunix_exp.evidence.kinds import data_card, source
from tunix_exp.evidence.kinds.origin import Origin, origin_if_any
from tunix_exp.evidence.kinds.read import object_if_any
from tunix_exp.evidence.kinds.stages import reused
from tunix_exp.evidence.manifest import RunManifest
from tunix_exp.evidence.sections import Code, HarnessEval, ItemsEval, LoRA, MixedSet, Mixture, Model
from tunix_exp.numbers import counted, duration, figure, percent, size
from tunix_exp.report.markdown import table, verbatim

SAME_BITS = (
    "The same config, seed, versions and kind of machine give the same losses and predictions to the bit."
)
FINDINGS = "Unusual, and as far as this run can tell true. A finding fails nothing."
VERIFYING = ("python -m tunix_exp verify PATH", "python -m tunix_exp replay PATH")
WHAT_THEY_DO = (
    "`verify` hashes every file, scores every answer and computes every figure again; `replay` repeats the "
    "run from its evidence alone and compares every number. PATH is this directory."
)
STRANGER = "not made by this version"
STATUS = "Whether the run completed is recorded in `run_manifest.json` under `status`."
_SHORT = 12  # digits of a hash where a whole one has no room


class Name(str):
    """A text that users or other programs chose: shown as it is."""

    kind = "code"


class Hash(str):
    """A sha256 or a commit: a page shows all of it, a README the beginning."""

    kind = "hash"


Value = Sequence[str]
Facts = list[tuple[str, Value]]


def markdown(facts: Facts) -> str:
    """The facts as a table."""
    return table(["", ""], [[name, "".join(map(_markdown, value))] for name, value in facts])


def _markdown(part: str) -> str:
    if isinstance(part, Hash):
        return f"`{part[:_SHORT]}…`"
    return verbatim(part) if isinstance(part, Name) else part


def what_was_run(manifest: RunManifest, root: Path) -> Facts:
    """Code, model, data and what came of the training, of the run at `root`."""
    facts: Facts = [
        ("run", [Name(manifest.run_id), f", mode {manifest.mode}, started {manifest.started_at}"]),
        ("code", _code(manifest.code)),
    ]
    if manifest.model is not None:
        facts += _model(manifest.model)
    origin = origin_if_any(root)
    if origin is not None:
        facts.append(("model of run", _chain(origin)))
    if manifest.adapter is not None:
        facts.append(("adapter", [adapter_text(manifest.adapter)]))
    if manifest.data is not None:
        facts.append(("training data", _data(manifest.data, "row")))
    if isinstance(manifest.eval, ItemsEval):
        facts.append(("held-out items", [*_data(manifest.eval, "item"), *_trained_on(root)]))
    if isinstance(manifest.eval, HarnessEval):
        asked = manifest.eval
        tasks = [part for name in asked.tasks for part in (Name(name), ", ")][:-1]
        rest = f" of lm-eval {asked.lm_eval}, {counted(asked.rows, 'item')}, sha256 "
        facts.append(("tasks", [*tasks, rest, Hash(asked.sha256)]))
    facts.append(("seed", [str(manifest.seed)]))
    if manifest.resumed_from is not None:
        facts.append(("resumed from", _resumed_from(manifest)))
    facts += [(one.stage, ["reused from run ", Name(one.made_by)]) for one in reused(root, manifest)]
    if manifest.replay_of is not None:
        facts.append(("replay of", [Name(manifest.replay_of.run_id)]))
    if manifest.tokens_per_s is not None:
        facts.append(("throughput", [_throughput(manifest)]))
    return facts


def machine(manifest: RunManifest) -> Facts:
    """Where it ran, and what it took."""
    where = manifest.machine
    facts: Facts = [
        ("system", [where.system]),
        ("processor", [f"{where.processor}, {counted(where.threads, 'thread')}"]),
    ]
    if manifest.devices is not None:
        facts.append(("devices", [f"{len(manifest.devices)}: {', '.join(dict.fromkeys(manifest.devices))}"]))
    if manifest.peak_memory_bytes is not None:
        where_held = {"device": "on a device", "process": "in the process"}[str(manifest.peak_memory_of)]
        facts.append(("peak memory", [f"{size(manifest.peak_memory_bytes)} {where_held}"]))
    if manifest.compiles is not None:
        compiles = manifest.compiles
        facts.append(("compilation", [f"{counted(compiles.count, 'program')}, {duration(compiles.seconds)}"]))
    return facts


def all_of(manifest: RunManifest, root: Path) -> Facts:
    """What was run, and the machine."""
    return [*what_was_run(manifest, root), *machine(manifest)]


def environment(manifest: RunManifest) -> Facts:
    """Versions and variables, and where on Kaggle."""
    known = {**(manifest.versions or {}), **(manifest.environment or {})}
    kaggle = {name.replace("_", " "): value for name, value in manifest.kaggle.model_dump().items()}
    return [(name, [str(value)]) for name, value in (known | kaggle).items() if value is not None]


def adapter_text(adapter: LoRA) -> str:
    """The adapter in one line."""
    return (
        f"LoRA rank {adapter.rank}, alpha {adapter.alpha:g}, {adapter.scaling} scaling, on "
        f"{', '.join(adapter.targets)}: {adapter.parameter_count:,} trainable parameters, base model frozen "
        f"in {adapter.frozen_dtype}"
    )


def reproduction(manifest: RunManifest) -> str:
    """The commands that run the experiment again, a line each."""
    code = manifest.code
    lines = [] if code.git_commit is None else [f"git checkout {code.git_commit}"]
    if code.git_dirty:
        lines.append(f"git apply --allow-empty {source.PATCH.path}  # of this directory")
    extra = " --extra harness" if isinstance(manifest.eval, HarnessEval) else ""
    return "\n".join([*lines, f"uv sync --locked{extra}", shlex.join(manifest.command)])


def _code(code: Code) -> Value:
    if code.git_commit is None:
        return [f"tunix_exp {code.version}, outside a git checkout"]
    changed = [", with changes: ", Name(source.PATCH.path)] if code.git_dirty else []
    return [f"tunix_exp {code.version}, commit ", Hash(code.git_commit), *changed]


def _model(model: Model) -> Facts:
    revision = [] if model.revision is None else [" at ", Hash(model.revision)]
    count = [] if model.parameter_count is None else [f", {model.parameter_count:,} parameters"]
    what = [Name(model.name), f" ({model.family}), weights ", Name(model.weights), *revision, *count]
    hashes = {"base weights": model.base_weight_hash, "trained weights": model.trained_weight_hash}
    found = [(name, ["sha256 ", Hash(digest)]) for name, digest in hashes.items() if digest is not None]
    return [("model", what), *found]


def _chain(origin: Origin) -> Value:
    after = "" if origin.step is None else f" after step {origin.step:,}"
    links = [part for link in origin.chain for part in (Name(link.run_id), ", which began with ")][:-1]
    return [*links[:1], f" ({origin.part}{after})", *links[1:]]


def _data(said: Any, noun: str) -> Value:
    if isinstance(said, Mixture):
        weighed = {name: one.weight for name, one in said.sets.items() if isinstance(one, MixedSet)}
        parts = [f"{name} ({percent(weight / sum(weighed.values()))})" for name, weight in weighed.items()]
        parts += [f"{name} ({counted(steps, 'step')})" for name, steps in said.stages.items()]
        how = "in stages" if said.stages else "a mixture of"
        rest = f", {how} {', '.join(parts)}, {counted(said.rows, noun)}, sha256 "
        return [Name(said.name), rest, Hash(said.sha256)]
    if said.source == "data":
        return [Name(said.name), f", {counted(said.rows, noun)} held out of the training data"]
    rest = f", {counted(said.rows, noun)}, sha256 "
    return [Name(said.name), " from ", Name(said.source), rest, Hash(said.sha256)]


def _trained_on(root: Path) -> Value:
    """How many training rows ask what an item asks; nothing where none does."""
    card = object_if_any(data_card.KIND, root)
    says = card.get("overlap") if card else None
    count = says.get("training_questions_held_out") if says else None
    return [f"; their questions in the training data: {counted(count, 'row')}"] if count else []


def _resumed_from(manifest: RunManifest) -> Value:
    parent = manifest.resumed_from
    assert parent is not None
    is_last = parent.step == manifest.steps_done
    rest = ", its last: no step was left, and the curves are that run's" if is_last else ""
    return [Name(parent.run_id), f" at step {parent.step:,}{rest}"]


def _throughput(manifest: RunManifest) -> str:
    rates = manifest.throughput
    said = f"{figure(manifest.tokens_per_s or 0)} tokens/s"
    if not isinstance(rates, dict):
        return said
    said += f" ({figure(rates['padded_tokens_per_s'])} with padding), {figure(rates['step_s'])} s a step"
    return f"{said}, MFU {percent(rates['mfu'])}" if "mfu" in rates else said
