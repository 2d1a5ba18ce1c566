"""What the processes of one run have in common, and each its own of."""

import socket
from typing import Any

from tunix_exp.device import hosts
from tunix_exp.device.check import Device
from tunix_exp.errors import UserError
from tunix_exp.evidence import sections as records
from tunix_exp.evidence.kinds import item_losses, predictions
from tunix_exp.evidence.layout import file_digest
from tunix_exp.evidence.run_directory import RunDirectory
from tunix_exp.objectives.objective import Objective

_FILES = (predictions.BASE, predictions.TRAINED, item_losses.BASE, item_losses.TRAINED)


def refuse_sampling(objective: Objective) -> None:
    """An objective that samples while it trains does so in one process."""
    if hosts.count() > 1 and objective.collect is not None:
        raise UserError(
            f"the objective samples while it trains, in one process, and here are {hosts.count()}",
            where="device.distributed.coordinator",
            remedy="set device.distributed.coordinator to null, or choose objective=sft",
        )


def record_hosts(device: Device, evidence: RunDirectory) -> None:
    """The manifest has each of several processes with its host and devices."""
    if hosts.count() == 1:
        return
    ours = records.Host(
        process=hosts.index(),
        host=socket.gethostname() or "unknown",
        processor=evidence.manifest.machine.processor,
        device_kind=device.device_kind,
        devices=device.of_process,
    )
    found = hosts.everyone("host", ours.model_dump(mode="json"))
    evidence.update(hosts=[records.Host.model_validate(one) for one in found])
    told = ", ".join(f"{one['process']} on {one['host']} ({one['devices']} devices)" for one in found)
    evidence.log.say(f"processes: {told}")


def check_inputs(evidence: RunDirectory) -> None:
    """Every process has read the same data, items, weights and tokenizer."""
    if hosts.count() > 1:
        remedy = "give every host the same files, or put them where all hosts see them"
        hosts.check_same("what was read", _recorded(evidence), remedy=remedy)


def check_outcome(evidence: RunDirectory) -> None:
    """Every process has trained the same weights, and evaluated them to the same answers and losses."""
    if hosts.count() > 1:
        files = [kind.path for kind in _FILES if (evidence.root / kind.path).is_file()]
        digests = {name: file_digest(evidence.root / name) for name in files}
        remedy = (
            "nothing of the run counts, as a host computes otherwise: compare hosts/*.log, and leave one out"
        )
        hosts.check_same("the result", _recorded(evidence) | digests, remedy=remedy)


def _recorded(evidence: RunDirectory) -> dict[str, Any]:
    says = evidence.manifest.model_dump(mode="json")
    return {key: says[key] for key in ("data", "eval", "model", "adapter", "steps_done", "headline")}
