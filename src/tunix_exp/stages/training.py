"""The model trained, with a checkpoint and a line of metrics wherever one is due."""

import functools

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from tunix_exp.config import RunConfig
from tunix_exp.evaluation.config import ItemsEvalConfig
from tunix_exp.evaluation.evaluate import heldout_loss
from tunix_exp.evidence import sections as records
from tunix_exp.evidence.kinds import folders, heldout, metrics
from tunix_exp.evidence.run_directory import RunDirectory
from tunix_exp.host_memory import give_back
from tunix_exp.models import lora, sharding
from tunix_exp.models.architecture import LanguageModel
from tunix_exp.models.digest import weight_hash
from tunix_exp.models.hosts import put
from tunix_exp.objectives.objective import Batch, Held, Lines, Objective, Policy
from tunix_exp.stages.plan.step import PlannedStep
from tunix_exp.stages.texts.read import Texts
from tunix_exp.training import optim, resume
from tunix_exp.training.checkpoint import Checkpoints
from tunix_exp.training.feed import Feed
from tunix_exp.training.loop import Row, Schedule, train
from tunix_exp.training.meter import Meter
from tunix_exp.training.step import TrainState, placed_state


def trained_model(
    model: LanguageModel,
    config: RunConfig,
    texts: Texts,
    step: PlannedStep,
    parent: resume.Parent | None,
    evidence: RunDirectory,
) -> LanguageModel:
    """The model after the last step; losses, checkpoints and curves are in the run directory."""
    if config.optim.warmup_steps >= step.total_steps:
        evidence.log.say(
            f"note: the warm-up ({config.optim.warmup_steps} steps) is longer than the training"
            f" ({step.total_steps}): the rate stays below optim.peak_lr"
        )
    graphdef, params, frozen = lora.split(model)
    # A copy, as the first update takes the buffers of the parameters.
    kept = jax.tree.map(jnp.copy, step.objective.kept(params, frozen))
    held = Held(frozen, kept)
    state = _first_state(params, config, step, parent, evidence)
    first = int(jax.block_until_ready(state).step)
    give_back()
    rows: list[Row] = []
    items_eval = config.eval if isinstance(config.eval, ItemsEvalConfig) else None

    def write(row: Row) -> None:
        rows.append(row)
        _write_row(row, evidence)

    def held_out(state: TrainState, done: int) -> None:
        # As the model answers at the end: the last of these is then the same computation.
        trained = lora.for_evaluation(nnx.merge(graphdef, state.params, *frozen), config.adapter)
        _write_heldout(heldout_loss(trained, texts.items), done, evidence)

    meter = Meter(step.flops_of_width, step.peak_flops)
    with (
        Checkpoints(
            evidence.shared(folders.CHECKPOINTS.path), keep=config.training.keep_checkpoints
        ) as checkpoints,
        evidence.log.progress(step.total_steps, "training", done=first) as advance,
    ):
        state = train(
            state,
            lambda state, batch, scalars: step(state, batch, scalars, held),
            Feed(
                step.objective,
                texts.batches,
                place=functools.partial(_placed, mesh=step.mesh),
                policy=lambda params: Policy(graphdef, params, held),
                programs=step.programs,
                keep=functools.partial(_write_lines, step.objective, evidence),
            ),
            put(step.scalars, NamedSharding(step.mesh, PartitionSpec())),
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
            on_step=lambda row: advance(1, loss=row.loss, tokens_per_s=row.figures["tokens_per_s"]),
            heldout=held_out,
        )
    _record(state, held, meter, evidence)
    if rows:
        evidence.log.say(f"trained, {len(rows)} steps logged: loss {rows[0].loss:.4f} → {rows[-1].loss:.4f}")
    else:
        evidence.write(metrics.KIND, ())
        evidence.log.say(f"no steps left: {first} of {step.total_steps} are done")
    return nnx.merge(graphdef, state.params, *frozen)


def _first_state(
    params: nnx.State,
    config: RunConfig,
    step: PlannedStep,
    parent: resume.Parent | None,
    evidence: RunDirectory,
) -> TrainState:
    """The state before the first update of this run: a fresh one, or that of the parent's checkpoint."""
    structure, own = optim.structure(config.optim), step.objective.init(config.seed)
    state = placed_state(structure, params, config.device.state_dtype, step.mesh, own)
    if parent is None or not parent.step:
        return state
    with Checkpoints(parent.checkpoints, keep=None) as saved:
        state = saved.restore(state, step=parent.step)
    evidence.log.say(f"resumed from {parent.folder} at step {parent.step}")
    return state


def _placed(batch: Batch, mesh: Mesh) -> Batch:
    examples = jax.tree.leaves(batch)[0].shape[0]
    return put(batch, NamedSharding(mesh, sharding.rows(mesh, examples)))


def _write_lines(objective: Objective, evidence: RunDirectory, step: int, lines: Lines) -> None:
    """What an objective made before the update after `step`, under that update's number."""
    for file, of_file in lines.items():
        for line in of_file:
            evidence.append(objective.kind(file), {"step": step + 1, **line})


def _write_row(row: Row, evidence: RunDirectory) -> None:
    line = row.line()
    evidence.append(metrics.KIND, line)
    evidence.log.note(metrics.described(line))


def _write_heldout(loss: float, done: int, evidence: RunDirectory) -> None:
    row = {"step": done, "loss_nats": loss}
    evidence.append(heldout.KIND, row)
    evidence.log.note(heldout.described(row))


def _record(state: TrainState, held: Held, meter: Meter, evidence: RunDirectory) -> None:
    """The manifest has the steps that were done, the rates, and the hash of what was trained."""
    whole = meter.whole()
    evidence.update(
        steps_done=int(state.step),
        tokens_per_s=None if whole is None else whole.pop("tokens_per_s"),
        throughput=records.NoStep(kind="no step") if whole is None else whole,
        model={"trained_weight_hash": weight_hash(state.params)},
    )
    if held.frozen:
        evidence.update(adapter={"frozen_weight_hash_after": weight_hash(held.frozen[0])})
