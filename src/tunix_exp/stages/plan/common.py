"""What every plan has: its page, the refusal of what does not fit, and the record of the model."""

from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import Mesh

from tunix_exp.config import RunConfig
from tunix_exp.device import hosts
from tunix_exp.device import plan as plans
from tunix_exp.device.check import Device
from tunix_exp.evaluation.config import ItemsEvalConfig
from tunix_exp.evaluation.evaluate import heldout_widths
from tunix_exp.evaluation.rounds import rows_of
from tunix_exp.evidence import sections as records
from tunix_exp.evidence.console import table_text
from tunix_exp.evidence.kinds import plan as kind
from tunix_exp.evidence.run_directory import RunDirectory
from tunix_exp.models.adapter import LoRAConfig, targeted
from tunix_exp.models.loss_chunk import Choice
from tunix_exp.models.weights import Loaded, begin
from tunix_exp.stages.texts.read import Texts


def planned(
    config: RunConfig,
    texts: Texts | None,
    device: Device,
    *,
    parts: plans.Parts | plans.EvaluationParts,
    work: plans.Work | None,
    attention: dict[str, str],
    loss_chunk: Choice,
    remat: dict[str, Any] | None,
) -> plans.Plan:
    """The plan by arithmetic, before the compiler is asked."""
    return plans.Plan(
        platform=device.platform,
        topology=device.topology,
        topology_reason=device.topology_reason,
        mesh=dict(device.mesh.shape),
        device_memory_bytes=device.memory_bytes,
        parts=parts,
        work=work,
        attention=attention,
        loss_chunk=loss_chunk.to_json(),
        remat=remat,
        speed=device.speed,
        evaluation=_evaluation_shapes(config, texts, device),
        not_compiled=device.not_compiled,
    )


def begun(config: RunConfig, device: Device) -> Callable[[], Loaded]:
    """The weights on their way: calling it waits until they are loaded."""
    assert isinstance(device.mesh, jax.sharding.Mesh)
    return begin(
        config.model,
        config.adapter,
        param_dtype=config.device.param_dtype,
        compute_dtype=config.device.compute_dtype,
        seed=config.seed,
        mesh=device.mesh,
        # A GPU's compiler times kernels, and wants it for itself.
        # And of several processes all have to begin their computations in one order.
        beside=device.platform != "gpu" and hosts.count() == 1,
    )


def refused(plan: plans.Plan, error: Exception) -> plans.Plan:
    """The plan that the compiler has refused for its memory; any other error goes on."""
    words = plans.out_of_memory(error)
    if words is None:
        raise error
    return plan.refused_by(words)


def settle(
    plan: plans.Plan,
    config: RunConfig,
    find_remedies: Callable[[], list[plans.Remedy]],
    evidence: RunDirectory,
    *,
    is_stuck: bool,
) -> None:
    """The plan is in the run directory and in the log, and what does not fit is refused."""
    evidence.write(kind.KIND, plan.to_json())
    evidence.log.say(table_text(plan.table()))
    evidence.log.say(f"plan: {plan.describe()}")
    warning = plans.guard(plan, "block" if is_stuck else config.device.guardrail, find_remedies)
    if warning:
        evidence.log.say(f"warning: {warning}")


def record_model(config: RunConfig, texts: Texts | None, count: int, evidence: RunDirectory) -> None:
    """The manifest says which model it is; its hashes follow when it is loaded."""
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


def adapter_record(config: RunConfig, trained_parameter_count: int) -> records.LoRA | None:
    """The manifest's record of the adapter; `None` where every parameter is trained."""
    adapter = config.adapter
    if not isinstance(adapter, LoRAConfig):
        return None
    return records.LoRA(
        **adapter.model_dump(exclude={"targets"}),
        targets=tuple(targeted(config.model.family, adapter.targets)),
        parameter_count=trained_parameter_count,
        frozen_dtype=config.model.quantize or config.model.stored_dtype,
        frozen_weight_hash_after=None,
        files={},
    )


def _evaluation_shapes(config: RunConfig, texts: Texts | None, device: Device) -> dict[str, int] | None:
    if texts is None or not isinstance(config.eval, ItemsEvalConfig):
        return None
    mesh = device.mesh if isinstance(device.mesh, Mesh) else None
    rows = rows_of(texts.prompt_lengths, device.platform, mesh)
    return {
        "items": len(texts.items),
        "rows_a_call": rows.answered,
        "prompts_a_call": rows.read,
        "rows_in_flight": -(-config.eval.batch_size // rows.read) * rows.read,
        "heldout_tokens": heldout_widths(texts.items)[-1],
        "decode_new_tokens": config.eval.max_new_tokens,
    }
