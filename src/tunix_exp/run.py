"""One experiment, top to bottom.

Check the device, read and check the data, plan the memory, load the weights, score the base model,
train, score the trained model, and leave evidence of each.
"""

import functools
import math
import os
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec

from tunix_exp import references
from tunix_exp.config import RunConfig
from tunix_exp.data.batches import Batches
from tunix_exp.data.card import data_card, example_text, rows_text
from tunix_exp.data.config import TemplateConfig
from tunix_exp.data.limit import limit, most_tokens
from tunix_exp.data.render import Renderer
from tunix_exp.data.sources import ExampleSet, overlap, read, read_items
from tunix_exp.data.tokenize import Tokenized, TokenizedExample, tokenize
from tunix_exp.data.tokenizer import Tokenizer, load_tokenizer
from tunix_exp.device import plan as plans
from tunix_exp.device.check import Device, check, peak_memory
from tunix_exp.errors import UserError
from tunix_exp.evaluation import footprint as evaluating
from tunix_exp.evaluation.config import HarnessEvalConfig, ItemsEvalConfig
from tunix_exp.evaluation.evaluate import evaluate, heldout_loss, heldout_widths
from tunix_exp.evaluation.generate import MOST_ROWS, block_rows, check_prompts, compile_answer
from tunix_exp.evidence import layout, surroundings
from tunix_exp.evidence import manifest as records
from tunix_exp.evidence.board import HELDOUT, sample_table
from tunix_exp.evidence.console import table_text
from tunix_exp.evidence.metrics import heldout_line, step_line
from tunix_exp.evidence.run_directory import RunDirectory
from tunix_exp.evidence.stages import Stages
from tunix_exp.evidence.strict_json import read_json_object
from tunix_exp.evidence.summary import Baseline, eval_summary, headline
from tunix_exp.host_memory import give_back
from tunix_exp.models import lora, sharding
from tunix_exp.models.adapter import LoRAConfig, targeted
from tunix_exp.models.architecture import LanguageModel, abstract
from tunix_exp.models.attention import difference
from tunix_exp.models.digest import parameter_count, weight_hash
from tunix_exp.models.export import write_adapter, write_model
from tunix_exp.models.kernels import Kernel
from tunix_exp.models.kernels import choose as choose_kernel
from tunix_exp.models.weights import Loaded, begin, check_access
from tunix_exp.programs import forget_programs_when_many
from tunix_exp.report.card import model_card
from tunix_exp.report.curves import draw_curves
from tunix_exp.report.harness import harness_table
from tunix_exp.report.page.run import run_page
from tunix_exp.report.tables import adapter_text, comparison_table, readme
from tunix_exp.scoring.harness import Outcome
from tunix_exp.scoring.paired import Evaluation
from tunix_exp.training import optim, resume
from tunix_exp.training.checkpoint import Checkpoints
from tunix_exp.training.compiles import CompileCount
from tunix_exp.training.footprint import Setting, footprint, remedies
from tunix_exp.training.loop import Row, Schedule, train
from tunix_exp.training.meter import Meter
from tunix_exp.training.step import (
    BatchArrays,
    Metrics,
    TrainState,
    compile_step,
    placed_state,
    step_scalars,
)

if TYPE_CHECKING:
    # an extra: it may not be installed
    from tunix_exp.evaluation.harness.tasks import Tasks

_SAMPLE_ROWS = 20
_SPECIALS = 2  # the tokens that begin and end a text
_KERNEL_TOLERANCE = 0.02  # a few roundings of bfloat16, of 2⁻⁸ each


def run(config: RunConfig, evidence: RunDirectory, stages: Stages, *, baseline: Baseline | None) -> None:
    """The run directory is complete and verified; anything else is an exception.

    `baseline` is the run that this one is measured against.
    """
    if forget_programs_when_many():
        evidence.log.say("the programs of earlier jobs are forgotten, as a process can hold only so many")
    compiles = CompileCount()
    parent = None
    if config.mode.trains and config.training.resume != "never":
        with stages("resume"):
            parent = _found_parent(config, evidence)
    with stages("device"):
        device = _checked_device(config, evidence)
    if config.mode.computes:
        with stages("weights"):
            check_access(config.model, config.adapter)
    with stages("data"):
        tokenizer = _loaded_tokenizer(config, evidence)
        texts = None if tokenizer is None else _prepared_texts(config, tokenizer, evidence)
        if parent is not None and texts is not None:
            resume.check_same(parent, _read_facts(texts, evidence))
    with stages("plan"):
        if config.mode.name == "eval":
            assert texts is not None
            planned = _planned_evaluation(config, texts, device, evidence)
        else:
            planned = _planned_step(config, texts, device, parent, evidence)
        give_back()
    if config.mode.computes:
        assert texts is not None
        _compute(config, texts, planned, parent, baseline, evidence, stages)
    with stages("report"):
        held_by, peak_bytes = peak_memory()
        evidence.update(
            times_s=stages.times_s,
            compiles=records.Compiles(count=compiles.count, seconds=compiles.seconds),
            peak_memory_of=held_by,
            peak_memory_bytes=peak_bytes,
        )
        if config.mode.trains and not evidence.manifest.took_no_step:
            draw_curves(evidence.root, evidence.path("curves.png"))

    def pages() -> None:
        evidence.write_text("README.md", readme(evidence.root))
        evidence.write_text(layout.REPORT, run_page(evidence.root))
        stages.current = "verify"

    evidence.complete(pages=pages)
    evidence.log.say(f"completed and verified: {evidence.root}")


def _compute(
    config: RunConfig,
    texts: "Texts",
    planned: "PlannedStep | PlannedEvaluation",
    parent: resume.Parent | None,
    baseline: Baseline | None,
    evidence: RunDirectory,
    stages: Stages,
) -> None:
    """Weights, base evaluation, training, trained evaluation, comparison: as far as the mode goes."""
    evidence.board.hyperparameters(
        config.model_dump(mode="json"),
        started_at_s=datetime.fromisoformat(evidence.manifest.started_at).timestamp(),
    )
    with stages("weights"):
        loaded = _loaded_model(config, planned.weights, evidence)
        if parent is not None:
            resume.check_same(parent, _loaded_facts(evidence))
    model: LanguageModel = loaded.model
    texts = _ending_as_the_model_says(texts, loaded, evidence)
    base = trained = None
    steps_done = 0
    if texts.is_asked:
        with stages("base evaluation"):
            base = _evaluated("base", model, config, texts, evidence)
    if isinstance(planned, PlannedStep):
        with stages("training"):
            model = _trained_model(model, config, texts, planned, parent, evidence)
            steps_done = planned.total_steps
        if texts.is_asked:
            with stages("trained evaluation"):
                trained = _evaluated("trained", model, config, texts, evidence)
    result = None if base is None else _result(base, trained, baseline, config, evidence)
    if config.training.export:
        with stages("export"):
            _export(model, loaded, config, texts.tokenizer, evidence)
    evidence.board.finish(result, step=steps_done)


# ── before any weight is loaded ──────────────────────────────────────────────────────────────────────


class Texts(NamedTuple):
    """Training rows and held-out items as tokens; without such items `items` is empty.

    `tasks` are the harness's.
    """

    tokenizer: Tokenizer
    rows: Tokenized
    items: tuple[TokenizedExample, ...]
    tasks: "Tasks | None"
    batches: Batches

    @property
    def is_asked(self) -> bool:
        """Whether models are evaluated."""
        return bool(self.items) or self.tasks is not None


class BatchSource:
    """The data package's batches in the form that the training loop asks for."""

    def __init__(self, batches: Batches) -> None:
        """Of these batches."""
        self._batches = batches

    def arrays(self, step: int) -> BatchArrays:
        """Arrays of shape B × T."""
        batch = self._batches[step]
        return BatchArrays(batch.tokens_BT, batch.segment_ids_BT, batch.loss_mask_BT)

    def names(self, step: int) -> tuple[str, ...]:
        """The examples' ids."""
        return tuple(self._batches[step].example_ids)


def _found_parent(config: RunConfig, evidence: RunDirectory) -> resume.Parent | None:
    plain = read_json_object(evidence.root / layout.CONFIG, file=layout.CONFIG)
    parent = resume.find(config.training.resume, plain, evidence.root)
    if parent is None:
        evidence.log.say("training.resume=auto found no unfinished run with this config; begins at step 0")
        return None
    evidence.update(resumed_from=records.ResumedFrom(run_id=parent.run_id, step=parent.step))
    evidence.log.say(f"training.resume={config.training.resume} {parent.describe()}")
    return parent


def _read_facts(texts: "Texts", evidence: RunDirectory) -> dict[str, object]:
    """What was read, by the keys of the manifest: a resumed run reads what its parent did."""
    data, items = evidence.manifest.data, evidence.manifest.eval
    assert data is not None
    facts: dict[str, object] = {"data.sha256": data.sha256, "data.rows": data.rows}
    if isinstance(items, records.ItemsEval | records.HarnessEval):
        facts["eval.sha256"] = items.sha256
    return facts | {"model.tokenizer_digest": texts.tokenizer.digest}


def _loaded_facts(evidence: RunDirectory) -> dict[str, object]:
    """What was loaded, in the same way."""
    model, adapter = evidence.manifest.model, evidence.manifest.adapter
    assert model is not None
    facts: dict[str, object] = {"model.base_weight_hash": model.base_weight_hash}
    return facts if adapter is None else facts | {"adapter.files": adapter.files}


def _checked_device(config: RunConfig, evidence: RunDirectory) -> Device:
    evidence.write_text("env_info.txt", surroundings.environment_text(os.environ))
    device = check(config.device, preflight=not config.mode.computes)
    evidence.write_text("device_check.txt", device.report)
    evidence.update(
        devices=device.kinds,
        platform=device.platform,
        versions=surroundings.versions(),
        environment=surroundings.recorded_environment(os.environ),
    )
    evidence.log.say(f"device: {device.report.splitlines()[0]}")
    if device.topology_reason is not None:
        evidence.log.say(f"topology {device.topology} is chosen by {device.topology_reason}")
    return device


def _loaded_tokenizer(config: RunConfig, evidence: RunDirectory) -> Tokenizer | None:
    """The tokenizer; a preflight goes on without one that the Hub does not give, as shapes need no text."""
    try:
        tokenizer = load_tokenizer(config.model.tokenizer, chat=config.data.template.chat)
    except UserError as error:
        may_lack = isinstance(references.parse(config.model.tokenizer, key="model.tokenizer"), references.Hub)
        if config.mode.computes or not may_lack or config.training.steps is None:
            raise
        evidence.log.say(f"data: not checked, as the tokenizer is not at hand: {error.what}")
        return None
    tokenizer.check_fits(config.model.vocab_size)
    return tokenizer


def _prepared_texts(config: RunConfig, tokenizer: Tokenizer, evidence: RunDirectory) -> Texts:
    data, evaluates = config.data, isinstance(config.eval, ItemsEvalConfig)
    renderer = Renderer(data.template)
    examples = read(data)
    positions, widths = config.model.num_positions, config.training.bucket_widths
    most = most_tokens(data.max_tokens, positions=positions, bucket_widths=widths)
    rows = tokenize(examples, renderer, tokenizer, most, data.too_long, positions=positions)
    row = limit(data.max_tokens, most=most, longest=rows.statistics.total_tokens.max)
    held_out, items, tasks, shared = None, (), None, None
    if isinstance(config.eval, ItemsEvalConfig):
        held_out = read_items(config.eval.source, config.eval.fields, config.eval.max_items)
        shared = overlap(examples, held_out, allowed=data.allow_eval_overlap)
        items = tokenize(held_out, renderer, tokenizer, config.model.num_positions, "error", key="eval").kept
        check_prompts(
            [item.tokens_T[: item.prompt_length].tolist() for item in items],
            max_new_tokens=config.eval.max_new_tokens,
            num_positions=config.model.num_positions,
            vocab_size=config.model.vocab_size,
        )
    elif isinstance(config.eval, HarnessEvalConfig):
        from tunix_exp.evaluation.harness.stage import prepare

        tasks = prepare(config.eval, data.template, config.model.num_positions, evidence)
    batches = Batches(
        rows,
        seed=config.seed,
        batch_size=config.training.batch_size,
        max_tokens=row.tokens,
        pad_id=tokenizer.pad_id,
        batching=config.training.batching,
        bucket_widths=widths,
    )
    card = data_card(
        data,
        examples.facts,
        examples,
        rows.statistics,
        batches.statistics(),
        tokenizer,
        row_tokens=row.tokens,
        eval_name=config.eval.name if evaluates else None,
        eval_facts=held_out.facts if held_out else None,
        overlap_count=shared,
    )
    evidence.write_json("data_card.json", card)
    evidence.write_text("example.txt", f"{example_text(rows.kept[0], tokenizer)}\n{rows_text(batches[0])}")
    evidence.update(
        data=records.Data(
            name=data.name, source=data.source, rows=len(rows.kept), sha256=examples.facts.sha256
        ),
    )
    if tasks is None:
        evidence.update(eval=_eval_record(config, held_out, len(items)))
    evidence.log.say(
        f"data: {len(rows.kept)} of {examples.facts.rows} rows of {data.name}, {len(items)} held-out items"
    )
    for name in examples.facts.absent:
        evidence.log.say(f"data: no row has a field `{name}`, and data.fields can do without")
    if row.reason:
        evidence.log.say(f"data.max_tokens is {row.tokens}: {row.reason}")
    if isinstance(config.eval, ItemsEvalConfig):
        stop = _stop(config.eval, data.template)
        evidence.log.say(f"an answer ends before {' or '.join(map(repr, stop)) or 'no text'}")
    evidence.log.say(f"batches: {batches.statistics().describe()}")
    return Texts(tokenizer, rows, items, tasks, batches)


def _eval_record(
    config: RunConfig, held_out: ExampleSet | None, n_items: int
) -> records.NoEval | records.ItemsEval:
    if held_out is None or not isinstance(config.eval, ItemsEvalConfig):
        return records.NoEval(kind="none")
    return records.ItemsEval(
        kind="items",
        name=config.eval.name,
        source=config.eval.source,
        rows=n_items,
        sha256=held_out.facts.sha256,
        stop=_stop(config.eval, config.data.template),
    )


def _stop(config: ItemsEvalConfig, template: TemplateConfig) -> tuple[str, ...]:
    """The texts that end an answer: the config's, or those that would begin a next example."""
    return Renderer(template).next_example() if config.stop is None else config.stop


class PlannedStep(NamedTuple):
    """The compiled update for each width of a batch, its scalar inputs, and the number of updates.

    `flops_of_width` are the operations that the model asks of a device, `peak_flops` what it can do a second;
    `weights` waits until they are loaded, and there are none where nothing is computed.
    """

    by_width: dict[int, Any]
    flops_of_width: dict[int, float]
    peak_flops: float | None
    scalars: optim.Scalars
    total_steps: int
    mesh: Any
    weights: Callable[[], Loaded] | None

    def __call__(
        self, state: TrainState, batch: BatchArrays, scalars: optim.Scalars, *frozen: nnx.State
    ) -> tuple[TrainState, Metrics]:
        """One update by the program for the batch's width."""
        return self.by_width[batch.tokens_BT.shape[1]](state, batch, scalars, *frozen)


class PlannedEvaluation(NamedTuple):
    """Where nothing is trained: `weights` waits until they are loaded."""

    weights: Callable[[], Loaded] | None


def _planned_step(
    config: RunConfig,
    texts: Texts | None,
    device: Device,
    parent: resume.Parent | None,
    evidence: RunDirectory,
) -> PlannedStep:
    """Plan the update from shapes alone, compile it, write plan.json, and refuse what does not fit.

    What the arithmetic finds hopeless is refused before the compiler is asked, and before a weight is read;
    else weights are loaded while it works. The plan is for the widest batch; all others that come are
    compiled here too, so that training compiles nothing.
    """
    total_steps = _total_steps(config, texts)
    *narrower, widest = texts.batches.widths(total_steps) if texts else (_unread_width(config, evidence),)
    attention = choose_kernel(
        config.device.attention,
        config.model,
        platform=device.platform,
        device_kind=device.device_kind,
        compute_dtype=config.device.compute_dtype,
        max_tokens=widest,
    )
    evidence.log.say(f"training attends by {attention.kernel}: {attention.reason}")
    setting = Setting(
        config.model,
        config.adapter,
        config.optim,
        config.device,
        device.mesh,
        attention.kernel,
        batch_size=config.training.batch_size,
        max_tokens=widest,
    )
    graphdef, arguments = setting.arguments
    if parent is not None:
        with Checkpoints(parent.checkpoints, keep=None) as saved:
            saved.check(arguments[0], step=parent.step)
    if config.mode.computes:
        _check_kernel(attention.kernel, config, evidence)
    taken = footprint(setting)
    plan = _plan(config, texts, device, parts=taken.parts, work=taken.work, attention=asdict(attention))
    compiled = weights = None
    if plan.is_hopeless and config.device.guardrail == "block":
        plan = plan.refused_by(plans.HOPELESS)
    elif isinstance(device.mesh, jax.sharding.Mesh):
        if config.mode.computes:
            weights = _begun(config, device)
        try:
            compiled = compile_step(graphdef, optim.structure(config.optim), device.mesh, *arguments)
            plan = replace(plan, step=plans.compiled_figures(compiled, device.platform))
            if not config.mode.computes and isinstance(config.eval, ItemsEvalConfig):
                answer = _compiled_answer(config, texts, widest, *setting.answering(), device.mesh)
                plan = replace(plan, answer=plans.compiled_figures(answer, device.platform))
        except jax.errors.JaxRuntimeError as error:
            plan = _refused(plan, error)
    # Without a program nothing can go on, whatever the guardrail says.
    is_stuck = compiled is None and config.mode.computes
    _settle(plan, config, lambda: remedies(setting, device.memory_bytes), evidence, is_stuck=is_stuck)
    state, _, _, *frozen = arguments
    _record_model(config, texts, parameter_count(frozen[0] if frozen else state.params), evidence)
    evidence.update(adapter=_adapter_record(config, parameter_count(state.params)))
    by_width, flops_of_width = {widest: compiled}, {widest: taken.work.model_flops}
    if config.mode.trains:
        assert isinstance(device.mesh, jax.sharding.Mesh)  # else the plan was refused
        for width in narrower:
            other = replace(setting, max_tokens=width)
            _, arguments = other.arguments
            by_width[width] = compile_step(graphdef, optim.structure(config.optim), device.mesh, *arguments)
            flops_of_width[width] = footprint(other).work.model_flops
    scalars = step_scalars(config.optim, config.adapter, total_steps=total_steps, seed=config.seed)
    peak = None if device.speed is None else device.speed.device_peak_flops
    return PlannedStep(by_width, flops_of_width, peak, scalars, total_steps, device.mesh, weights)


def _planned_evaluation(
    config: RunConfig, texts: Texts, device: Device, evidence: RunDirectory
) -> PlannedEvaluation:
    """Plan what the evaluation alone takes, compile it, write plan.json, and refuse what does not fit.

    As `_planned_step` does for training. What the harness will ask, nobody knows yet: then the weights alone
    are planned, and nothing is compiled.
    """
    assert isinstance(device.mesh, jax.sharding.Mesh)  # the device is here, as the mode computes
    asked = _asked(config, texts)
    setting = evaluating.Setting(config.model, config.adapter, config.device, device.mesh, asked)
    attention = {"kernel": "einsum", "reason": "evaluation takes it everywhere"}
    plan = _plan(config, texts, device, parts=evaluating.footprint(setting), work=None, attention=attention)
    if asked is None:
        plan = replace(plan, not_compiled="the harness tells the shapes of its requests when it asks")
    weights = None
    if plan.is_hopeless and config.device.guardrail == "block":
        plan = plan.refused_by(plans.HOPELESS)
    else:
        weights = _begun(config, device)
        try:
            programs = setting.compiled()
            figures = {name: plans.compiled_figures(one, device.platform) for name, one in programs.items()}
            plan = replace(plan, **figures)
        except jax.errors.JaxRuntimeError as error:
            plan = _refused(plan, error)
    _settle(
        plan,
        config,
        lambda: evaluating.remedies(setting, device.memory_bytes),
        evidence,
        is_stuck=plan.refused,
    )
    _record_model(config, texts, parameter_count(lora.own_parameters(setting.loaded)), evidence)
    _, trained, frozen = lora.split(setting.loaded)
    evidence.update(adapter=_adapter_record(config, parameter_count(trained) if frozen else 0))
    return PlannedEvaluation(weights)


def _plan(
    config: RunConfig,
    texts: Texts | None,
    device: Device,
    *,
    parts: plans.Parts | plans.EvaluationParts,
    work: plans.Work | None,
    attention: dict[str, str],
) -> plans.Plan:
    return plans.Plan(
        platform=device.platform,
        topology=device.topology,
        topology_reason=device.topology_reason,
        mesh=dict(device.mesh.shape),
        device_memory_bytes=device.memory_bytes,
        parts=parts,
        work=work,
        attention=attention,
        speed=device.speed,
        evaluation=_evaluation_shapes(config, texts, device.platform),
        not_compiled=device.not_compiled,
    )


def _begun(config: RunConfig, device: Device) -> Callable[[], Loaded]:
    assert isinstance(device.mesh, jax.sharding.Mesh)
    return begin(
        config.model,
        config.adapter,
        param_dtype=config.device.param_dtype,
        compute_dtype=config.device.compute_dtype,
        seed=config.seed,
        mesh=device.mesh,
        # A GPU's compiler times kernels, and wants it for itself.
        beside=device.platform != "gpu",
    )


def _refused(plan: plans.Plan, error: Exception) -> plans.Plan:
    """The plan that the compiler has refused for its memory; any other error goes on."""
    words = plans.out_of_memory(error)
    if words is None:
        raise error
    return plan.refused_by(words)


def _settle(
    plan: plans.Plan,
    config: RunConfig,
    find_remedies: Callable[[], list[plans.Remedy]],
    evidence: RunDirectory,
    *,
    is_stuck: bool,
) -> None:
    """The plan is in the run directory and in the log, and what does not fit is refused."""
    evidence.write_json("plan.json", plan.to_json())
    evidence.log.say(table_text(plan.table()))
    evidence.log.say(f"plan: {plan.describe()}")
    warning = plans.guard(plan, "block" if is_stuck else config.device.guardrail, find_remedies)
    if warning:
        evidence.log.say(f"warning: {warning}")


def _record_model(config: RunConfig, texts: Texts | None, count: int, evidence: RunDirectory) -> None:
    evidence.update(
        model=records.Model(
            name=config.model.name,
            family=config.model.family,
            weights=config.model.weights,
            revision=None,
            parameter_count=count,
            base_weight_hash=None,
            trained_weight_hash=None,
            tokenizer_digest=texts.tokenizer.digest if texts else None,
            files={},
        )
    )


def _adapter_record(config: RunConfig, trained_parameter_count: int) -> records.LoRA | None:
    adapter = config.adapter
    if not isinstance(adapter, LoRAConfig):
        return None
    return records.LoRA(
        **adapter.model_dump(exclude={"targets"}),
        targets=tuple(targeted(config.model.family, adapter.targets)),
        parameter_count=trained_parameter_count,
        frozen_dtype=config.model.stored_dtype,
        frozen_weight_hash_after=None,
        files={},
    )


def _total_steps(config: RunConfig, texts: Texts | None) -> int:
    if config.training.steps is not None:
        return config.training.steps
    assert texts is not None
    assert config.training.epochs is not None
    return math.ceil(config.training.epochs * texts.batches.steps_per_epoch)


def _unread_width(config: RunConfig, evidence: RunDirectory) -> int:
    """The tokens of a row where there is no tokenizer to count them: no text is more tokens than bytes."""
    data = config.data
    if data.max_tokens is not None:
        return data.max_tokens
    renderer = Renderer(data.template)
    try:
        texts = [renderer.prompt(example) + renderer.response(example) for example in read(data)]
    except UserError as error:
        raise UserError(
            f"data.max_tokens=null follows from the data, which cannot be read: {error.what}",
            where="data.max_tokens",
            remedy="name the tokens of a row to plan with, as data.max_tokens=512",
        ) from None
    positions, widths = config.model.num_positions, config.training.bucket_widths
    most = most_tokens(None, positions=positions, bucket_widths=widths)
    longest = max(len(text.encode()) for text in texts) + _SPECIALS
    row = limit(None, most=most, longest=longest, counted="bytes and so no more tokens")
    evidence.log.say(f"data.max_tokens is {row.tokens}: {row.reason}")
    return row.tokens


def _compiled_answer(
    config: RunConfig, texts: Texts | None, width: int, graphdef: Any, params: Any, mesh: jax.sharding.Mesh
) -> jax.stages.Compiled:
    """The generation step for the longest prompts; where no text was read, for some of `width` tokens."""
    assert isinstance(config.eval, ItemsEvalConfig)
    platform = mesh.devices.flat[0].platform
    lengths = _prompt_lengths(texts) if texts else [width] * MOST_ROWS[platform]
    return compile_answer(
        graphdef,
        params,
        mesh,
        prompt_lengths=lengths,
        n_eos=len(texts.tokenizer.stop_ids) if texts else 1,
        max_new_tokens=config.eval.max_new_tokens,
    )


def _asked(config: RunConfig, texts: Texts) -> evaluating.Asked | None:
    if not isinstance(config.eval, ItemsEvalConfig):
        return None
    return evaluating.Asked(
        tuple(_prompt_lengths(texts)),
        config.eval.max_new_tokens,
        n_eos=len(texts.tokenizer.stop_ids),
        heldout_tokens=heldout_widths(texts.items)[-1],
    )


def _prompt_lengths(texts: Texts) -> list[int]:
    return [item.prompt_length for item in texts.items]


def _evaluation_shapes(config: RunConfig, texts: Texts | None, platform: str) -> dict[str, int] | None:
    if texts is None or not isinstance(config.eval, ItemsEvalConfig):
        return None
    rows = block_rows(_prompt_lengths(texts), platform)
    return {
        "items": len(texts.items),
        "rows_a_call": rows,
        "rows_in_flight": -(-config.eval.batch_size // rows) * rows,
        "heldout_tokens": heldout_widths(texts.items)[-1],
        "decode_new_tokens": config.eval.max_new_tokens,
    }


# ── the experiment ───────────────────────────────────────────────────────────────────────────────────


def _loaded_model(config: RunConfig, weights: Callable[[], Loaded] | None, evidence: RunDirectory) -> Loaded:
    assert weights is not None  # else the plan was refused
    loaded = weights()
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
    if evidence.manifest.adapter is not None:
        evidence.update(adapter={"files": loaded.adapter_files})
        evidence.log.say(f"adapter: {adapter_text(evidence.manifest.adapter.model_dump())}")
    return loaded


def _ending_as_the_model_says(texts: Texts, loaded: Loaded, evidence: RunDirectory) -> Texts:
    """An answer ends at the tokenizer's ids and at those that the model's files name, if they name others."""
    tokenizer = texts.tokenizer.stopping_at(loaded.end_ids)
    if tokenizer.stop_ids != texts.tokenizer.stop_ids:
        evidence.log.say(f"answers end at tokens {list(tokenizer.stop_ids)}: the model's files name more")
    return texts._replace(tokenizer=tokenizer)


def _check_kernel(kernel: Kernel, config: RunConfig, evidence: RunDirectory) -> None:
    """`kernel`, by which training attends, computes here what the einsum does; evaluation takes that."""
    if kernel == "einsum":
        return
    device = config.device
    model = abstract(config.model, param_dtype=device.param_dtype, compute_dtype=device.compute_dtype)
    error = difference(
        kernel,
        head_width=model.head_width,
        soft_cap=model.attention_soft_cap,
        windows=tuple(sorted(set(model.windows))),
        dtype=model.compute_dtype,
    )
    if not error < _KERNEL_TOLERANCE:
        raise UserError(
            f"{kernel} attention differs from the einsum by {error:.2g} of the largest number on this device",
            where="device.attention",
            remedy="device.attention=einsum; the driver or the library of the device may be faulty",
        )
    evidence.log.say(f"attention: {kernel} differs from the einsum by {error:.1e} of the largest number")


def _evaluated(
    which: str, model: LanguageModel, config: RunConfig, texts: Texts, evidence: RunDirectory
) -> Evaluation | Outcome:
    model = lora.for_evaluation(model, config.adapter)
    if texts.tasks is not None:
        from tunix_exp.evaluation.harness.stage import ask

        return ask(which, model, texts.tasks, texts.tokenizer, evidence)
    assert isinstance(config.eval, ItemsEvalConfig)
    with evidence.log.progress(len(texts.items), f"{which} answers") as bar:
        answered = 0

        def advance(done: int) -> None:
            nonlocal answered
            bar.advance(done - answered)
            answered = done

        stop = _stop(config.eval, config.data.template)
        result = evaluate(model, texts.items, texts.tokenizer, config.eval, stop=stop, on_batch=advance)
    evidence.write_jsonl(f"predictions/{which}.jsonl", [p.to_dict() for p in result.predictions])
    evidence.write_jsonl(f"heldout/{which}.jsonl", [loss.to_dict() for loss in result.losses])
    return result


def _trained_model(
    model: LanguageModel,
    config: RunConfig,
    texts: Texts,
    step: PlannedStep,
    parent: resume.Parent | None,
    evidence: RunDirectory,
) -> LanguageModel:
    if config.optim.warmup_steps >= step.total_steps:
        evidence.log.say(
            f"note: the warm-up ({config.optim.warmup_steps} steps) outlasts the training"
            f" ({step.total_steps}): the rate stays below optim.peak_lr"
        )
    graphdef, params, frozen = lora.split(model)
    structure = optim.structure(config.optim)
    rows_apart = NamedSharding(step.mesh, sharding.rows(step.mesh, config.training.batch_size))
    state = placed_state(structure, params, config.device.state_dtype, step.mesh)
    if parent is not None:
        with Checkpoints(parent.checkpoints, keep=None) as saved:
            state = saved.restore(state, step=parent.step)
        evidence.log.say(f"resumed from {parent.folder} at step {parent.step}")
    first = int(jax.block_until_ready(state).step)
    give_back()
    rows: list[Row] = []
    items_eval = config.eval if isinstance(config.eval, ItemsEvalConfig) else None

    def write(row: Row) -> None:
        rows.append(row)
        line = row.line()
        evidence.append_jsonl("metrics.jsonl", line)
        evidence.board.scalars(row.step, {k: v for k, v in line.items() if k != "step"})
        evidence.log.figures(step_line(line))

    def held_out(state: TrainState, done: int) -> None:
        # As the model answers at the end: the last of these is then the same computation.
        trained = lora.for_evaluation(nnx.merge(graphdef, state.params, *frozen), config.adapter)
        loss = heldout_loss(trained, texts.items)
        row = {"step": done, "loss_nats": loss}
        evidence.append_jsonl("heldout.jsonl", row)
        evidence.board.scalars(done, {HELDOUT + "loss_nats": loss})
        evidence.log.figures(heldout_line(row))

    meter = Meter(step.flops_of_width, step.peak_flops)
    with (
        Checkpoints(evidence.path("checkpoints"), keep=config.training.keep_checkpoints) as checkpoints,
        evidence.log.progress(step.total_steps - first, "training") as bar,
    ):

        def show(row: Row) -> None:
            bar.advance(1, loss=row.loss, tokens_per_s=row.figures["tokens_per_s"])

        state = train(
            state,
            lambda *arguments: step(*arguments, *frozen),
            BatchSource(texts.batches),
            jax.device_put(step.scalars, NamedSharding(step.mesh, PartitionSpec())),
            place=functools.partial(jax.device_put, device=rows_apart),
            meter=meter,
            schedule=Schedule(
                last_step=step.total_steps,
                log_every=config.training.log_every_steps,
                save_every=config.training.save_every_steps,
                heldout_every=items_eval.heldout_every_steps if items_eval else None,
                stop_at=config.training.stop_at_step,
            ),
            checkpoints=checkpoints,
            on_row=write,
            on_step=show,
            heldout=held_out,
        )
    whole = meter.whole()
    evidence.update(
        steps_done=int(state.step),
        tokens_per_s=None if whole is None else whole.pop("tokens_per_s"),
        throughput=records.NoStep(kind="no step") if whole is None else whole,
        model={"trained_weight_hash": weight_hash(state.params)},
    )
    if frozen:
        evidence.update(adapter={"frozen_weight_hash_after": weight_hash(frozen[0])})
    if rows:
        evidence.log.say(f"trained {len(rows)} logged steps: loss {rows[0].loss:.4f} → {rows[-1].loss:.4f}")
    else:
        evidence.write_text(layout.METRICS, "")
        evidence.log.say(f"no step was left to take: {first} of {step.total_steps} were done")
    return nnx.merge(graphdef, state.params, *frozen)


def _result(
    base: Evaluation | Outcome,
    trained: Evaluation | Outcome | None,
    baseline: Baseline | None,
    config: RunConfig,
    evidence: RunDirectory,
) -> records.Headline:
    if isinstance(base, Evaluation):
        assert not isinstance(trained, Outcome)
        return _compared(base, trained, baseline, config, evidence)
    from tunix_exp.evaluation.harness.stage import compare

    assert isinstance(config.eval, HarnessEvalConfig)
    assert not isinstance(trained, Evaluation)
    summary, result = compare(
        base, trained, resamples=config.eval.resamples, seed=config.seed, evidence=evidence
    )
    evidence.log.say(table_text(harness_table(summary)))
    return result


def _compared(
    base: Evaluation,
    trained: Evaluation | None,
    baseline: Baseline | None,
    config: RunConfig,
    evidence: RunDirectory,
) -> records.Headline:
    assert isinstance(config.eval, ItemsEvalConfig)
    summary = eval_summary(
        base, trained, resamples=config.eval.resamples, seed=config.seed, baseline=baseline
    )
    result = headline(summary)
    evidence.write_json("eval_summary.json", summary)
    evidence.update(headline=result)
    if baseline is not None:
        evidence.write_jsonl(layout.BASELINE_PREDICTIONS, [p.to_dict() for p in baseline.predictions])
        evidence.update(verdict=summary["baseline"]["verdict"])
    evidence.board.text(
        "predictions",
        sample_table(base.predictions, None if trained is None else trained.predictions, rows=_SAMPLE_ROWS),
        step=0,
    )
    evidence.log.say(table_text(comparison_table(summary)))
    return result


def _export(
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
    """What PEFT looks for the base model under; random weights lie nowhere."""
    match references.parse(weights, key="model.weights"):
        case references.Hub() as reference:
            return reference.repo
        case references.Random():
            return None
    return weights
