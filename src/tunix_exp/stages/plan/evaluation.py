"""The evaluation of a run that trains nothing, planned and compiled before a weight is read."""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import jax

from tunix_exp.config import RunConfig
from tunix_exp.device import plan as plans
from tunix_exp.device.check import Device
from tunix_exp.evaluation import footprint as evaluating
from tunix_exp.evaluation.config import ItemsEvalConfig
from tunix_exp.evaluation.evaluate import heldout_widths
from tunix_exp.evidence.run_directory import RunDirectory
from tunix_exp.models import lora
from tunix_exp.models.digest import parameter_count
from tunix_exp.models.loss_chunk import LossChunk
from tunix_exp.models.weights import Loaded
from tunix_exp.stages.plan.common import adapter_record, begun, planned, record_model, refused, settle
from tunix_exp.stages.plan.loss_chunk import chosen_chunk
from tunix_exp.stages.texts.read import Texts


class PlannedEvaluation(NamedTuple):
    """Where nothing is trained: `weights` waits until they are loaded, the held-out losses are computed
    `loss_chunk` at a time.
    """

    weights: Callable[[], Loaded] | None
    loss_chunk: LossChunk


def planned_evaluation(
    config: RunConfig, texts: Texts, device: Device, evidence: RunDirectory
) -> PlannedEvaluation:
    """Plan what the evaluation alone takes, compile it, write plan.json, and refuse what does not fit.

    As `planned_step` does for training. What the harness will ask, nobody knows yet: then the weights alone
    are planned, and nothing is compiled.
    """
    assert isinstance(device.mesh, jax.sharding.Mesh)  # the device is here, as the mode computes
    asked = _asked(config, texts)
    fewest = LossChunk.of_cpu(config.model.vocab_size)
    setting = evaluating.Setting(config.model, config.adapter, config.device, device.mesh, asked, fewest)
    chunk = chosen_chunk(setting, device)
    setting = replace(setting, loss_chunk=chunk.chunk)
    evidence.log.say(chunk.describe())
    attention = {"kernel": "einsum", "reason": "evaluation takes it everywhere"}
    parts = evaluating.footprint(setting)
    plan = planned(
        config, texts, device, parts=parts, work=None, attention=attention, loss_chunk=chunk, remat=None
    )
    if asked is None:
        plan = replace(plan, not_compiled="the harness tells the shapes of its requests when it asks")
    weights = None
    if plan.is_hopeless and config.device.guardrail == "block":
        plan = plan.refused_by(plans.HOPELESS)
    else:
        weights = begun(config, device)
        try:
            programs = setting.compiled()
            figures = {
                name: plans.compiled_figures(program, device.platform, beside=beside)
                for name, (program, beside) in programs.items()
            }
            plan = replace(plan, **figures)
        except jax.errors.JaxRuntimeError as error:
            plan = refused(plan, error)
    settle(
        plan,
        config,
        lambda: evaluating.remedies(setting, device.memory_bytes),
        evidence,
        is_stuck=plan.refused,
    )
    record_model(config, texts, parameter_count(lora.own_parameters(setting.loaded)), evidence)
    _, trained, frozen = lora.split(setting.loaded)
    evidence.update(adapter=adapter_record(config, parameter_count(trained) if frozen else 0))
    return PlannedEvaluation(weights, chunk.chunk)


def _asked(config: RunConfig, texts: Texts) -> evaluating.Asked | None:
    if not isinstance(config.eval, ItemsEvalConfig):
        return None
    return evaluating.Asked(
        tuple(texts.prompt_lengths),
        config.eval.max_new_tokens,
        n_eos=len(texts.tokenizer.stop_ids),
        heldout_tokens=heldout_widths(texts.items)[-1],
    )
