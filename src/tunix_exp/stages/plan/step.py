"""The training step, planned and compiled before a weight is read."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any, NamedTuple

import jax

from tunix_exp.config import RunConfig
from tunix_exp.data.limit import limit, most_tokens
from tunix_exp.data.render import Renderer
from tunix_exp.data.sources import read_sets
from tunix_exp.device import plan as plans
from tunix_exp.device.check import Device
from tunix_exp.errors import UserError
from tunix_exp.evaluation.config import ItemsEvalConfig
from tunix_exp.evaluation.generate import compile_answer
from tunix_exp.evaluation.rounds import MOST_ROWS
from tunix_exp.evidence.run_directory import RunDirectory
from tunix_exp.models.digest import parameter_count
from tunix_exp.models.loss_chunk import LossChunk
from tunix_exp.models.weights import Loaded
from tunix_exp.objectives.objective import Batch, Held, Objective, Policy, Programs
from tunix_exp.stages.plan.attention import check_kernel, chosen_kernel
from tunix_exp.stages.plan.common import adapter_record, begun, planned, record_model, refused, settle
from tunix_exp.stages.plan.loss_chunk import chosen_chunk
from tunix_exp.stages.plan.remat import chosen_remat, with_remat
from tunix_exp.stages.plan.widths import compiled_widths
from tunix_exp.stages.texts.read import Texts
from tunix_exp.training import optim, resume
from tunix_exp.training.checkpoint import Checkpoints
from tunix_exp.training.footprint import Setting, footprint, remedies
from tunix_exp.training.step import Metrics, TrainState, compile_step, step_scalars

_SPECIALS = 2  # the tokens that begin and end a text


class PlannedStep(NamedTuple):
    """The compiled update for each width of a batch, its scalar inputs, and the number of updates.

    `programs` are the objective's own, by the width of what its source gives.
    `flops_of_width` are the operations that the model asks of a device, `peak_flops` what it can do a second;
    `weights` waits until they are loaded, and there are none where nothing is computed; `loss_chunk` is
    that of the held-out losses too.
    """

    objective: Objective
    by_width: dict[int, Any]
    programs: Programs
    flops_of_width: dict[int, float]
    peak_flops: float | None
    scalars: optim.Scalars
    total_steps: int
    mesh: Any
    weights: Callable[[], Loaded] | None
    loss_chunk: LossChunk

    def __call__(
        self, state: TrainState, batch: Batch, scalars: optim.Scalars, held: Held
    ) -> tuple[TrainState, Metrics]:
        """One update by the program for the batch's width."""
        return self.by_width[self.objective.extent(batch)[1]](state, batch, scalars, held)


def planned_step(
    config: RunConfig,
    objective: Objective,
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
    total_steps = _total_steps(config, objective, texts)
    batches = total_steps // objective.updates
    *narrower, widest = texts.batches.widths(batches) if texts else (_unread_width(config, evidence),)
    attention = chosen_kernel(config, device, max_tokens=widest, evidence=evidence)
    setting = Setting(
        config.model,
        config.adapter,
        config.optim,
        config.device,
        device.mesh,
        attention.kernel,
        objective,
        batch_size=config.training.batch_size,
        max_tokens=widest,
        loss_chunk=LossChunk.of_cpu(config.model.vocab_size),
        stages=texts.stages if texts else config.data.steps_of_stages or (),
    )
    remat = chosen_remat(setting, device, parent)
    setting = with_remat(setting, remat.remat)
    chunk = chosen_chunk(setting, device)
    setting = replace(setting, loss_chunk=chunk.chunk)
    evidence.log.say(f"{remat.describe()}\n{chunk.describe()}")
    if parent is not None and parent.step:
        with Checkpoints(parent.checkpoints, keep=None) as saved:
            saved.check(setting.arguments[1][0], step=parent.step)
    if config.mode.computes:
        check_kernel(attention.kernel, config, evidence)
    taken = footprint(setting)
    kernel = asdict(attention)
    plan = planned(
        config,
        texts,
        device,
        parts=taken.parts,
        work=taken.work,
        attention=kernel,
        loss_chunk=chunk,
        remat=remat.to_json(),
    )
    plan, compiled, weights = _compiled(plan, setting, config, texts, device)
    # Without a program nothing can go on, whatever the guardrail says.
    is_stuck = compiled is None and config.mode.computes
    settle(plan, config, lambda: remedies(setting, device.memory_bytes), evidence, is_stuck=is_stuck)
    state, _, _, held = setting.arguments[1]
    record_model(config, texts, parameter_count(held.frozen[0] if held.frozen else state.params), evidence)
    evidence.update(adapter=adapter_record(config, parameter_count(state.params)))
    by_width, flops_of_width = {setting.width: compiled}, {setting.width: taken.work.model_flops}
    settings = [replace(setting, max_tokens=width) for width in narrower] if config.mode.trains else []
    by_width |= compiled_widths(settings, _compiled_step, platform=device.platform)
    flops_of_width |= {other.width: footprint(other).work.model_flops for other in settings}
    programs = {one.max_tokens: _programs(one) for one in (setting, *settings)} if config.mode.trains else {}
    scalars = step_scalars(
        config.optim,
        config.adapter,
        objective.scalars,
        total_steps=total_steps,
        seed=config.seed,
        stages=setting.stages,
    )
    peak = None if device.speed is None else device.speed.device_peak_flops
    return PlannedStep(
        objective,
        by_width,
        programs,
        flops_of_width,
        peak,
        scalars,
        total_steps,
        device.mesh,
        weights,
        chunk.chunk,
    )


def _compiled(
    plan: plans.Plan, setting: Setting, config: RunConfig, texts: Texts | None, device: Device
) -> tuple[plans.Plan, Any, Callable[[], Loaded] | None]:
    """The plan with the compiler's figures, the program, and the weights, which are read meanwhile.

    No program where the device is not here or its compiler refused it, and no weights where nothing is
    computed.
    """
    if plan.is_hopeless and config.device.guardrail == "block":
        return plan.refused_by(plans.HOPELESS), None, None
    if not isinstance(device.mesh, jax.sharding.Mesh):
        return plan, None, None
    compiled = None
    weights = begun(config, device) if config.mode.computes else None
    try:
        compiled = _compiled_step(setting)
        plan = replace(plan, step=plans.compiled_figures(compiled, device.platform))
        if not config.mode.computes and isinstance(config.eval, ItemsEvalConfig):
            answer, beside = _compiled_answer(
                config, texts, setting.max_tokens, *setting.answering(), device.mesh
            )
            plan = replace(plan, answer=plans.compiled_figures(answer, device.platform, beside=beside))
    except jax.errors.JaxRuntimeError as error:
        plan = refused(plan, error)
    return plan, compiled, weights


def _compiled_step(setting: Setting) -> Any:
    assert isinstance(setting.mesh, jax.sharding.Mesh)  # else the plan was refused
    graphdef, arguments = setting.arguments
    loss = setting.objective.loss
    return compile_step(graphdef, optim.structure(setting.optim), loss, setting.mesh, *arguments)


def _programs(setting: Setting) -> Mapping[str, Any]:
    """What the objective itself runs on the device, compiled for the batches of the setting's width."""
    compiled = setting.objective.programs
    if compiled is None:
        return {}
    assert isinstance(setting.mesh, jax.sharding.Mesh)  # else the plan was refused
    graphdef, (state, _, _, held) = setting.arguments
    with jax.set_mesh(setting.mesh):
        return compiled(Policy(graphdef, state.params, held), setting.batch_size, setting.max_tokens)


def _total_steps(config: RunConfig, objective: Objective, texts: Texts | None) -> int:
    """How many updates are taken: those of whole batches."""
    if config.training.steps is not None:
        return config.training.steps
    assert texts is not None
    assert config.training.epochs is not None
    return objective.updates * math.ceil(config.training.epochs * texts.batches.steps_per_epoch)


def _unread_width(config: RunConfig, evidence: RunDirectory) -> int:
    """The tokens of a row where there is no tokenizer to count them: no text is more tokens than bytes."""
    data = config.data
    if data.max_tokens is not None:
        return data.max_tokens
    renderer = Renderer(data.template)
    try:
        if data.template.chat == "tokenizer":
            raise UserError("the chat template is the tokenizer's, which is unavailable")
        texts = [
            renderer.prompt(example) + renderer.response(example)
            for rows in read_sets(data).values()
            for example in rows
        ]
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
) -> tuple[jax.stages.Compiled, int]:
    """The generation step for the longest prompts; where no text was read, for some of `width` tokens."""
    assert isinstance(config.eval, ItemsEvalConfig)
    platform = mesh.devices.flat[0].platform
    lengths = texts.prompt_lengths if texts else [width] * MOST_ROWS[platform]
    return compile_answer(
        graphdef,
        params,
        mesh,
        prompt_lengths=lengths,
        n_eos=len(texts.tokenizer.stop_ids) if texts else 1,
        max_new_tokens=config.eval.max_new_tokens,
    )
