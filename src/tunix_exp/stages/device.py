"""The device that the run computes on, checked, with its record."""

import os

from tunix_exp.config import RunConfig
from tunix_exp.device.check import Device, check
from tunix_exp.evidence import surroundings
from tunix_exp.evidence.kinds import pages
from tunix_exp.evidence.run_directory import RunDirectory


def checked_device(config: RunConfig, evidence: RunDirectory) -> Device:
    """The device of the config is there, and the manifest says which it is and what it runs."""
    evidence.write_text(pages.ENVIRONMENT.path, surroundings.environment_text(os.environ))
    device = check(config.device, preflight=not config.mode.computes)
    evidence.write_text(pages.DEVICE_CHECK.path, device.report)
    evidence.update(
        devices=device.kinds,
        platform=device.platform,
        versions=surroundings.versions(),
        environment=surroundings.recorded_environment(os.environ),
    )
    evidence.log.say(f"device: {device.report.splitlines()[0]}")
    if device.topology_reason is not None:
        evidence.log.say(f"topology {device.topology}: {device.topology_reason}")
    return device
