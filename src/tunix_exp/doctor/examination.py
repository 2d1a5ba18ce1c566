"""Everything that is looked at, in the order in which a first run would meet it."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from huggingface_hub import constants

import tunix_exp
from tunix_exp.doctor import card, machine, software
from tunix_exp.doctor.finding import Finding
from tunix_exp.doctor.hub import hub
from tunix_exp.evidence import surroundings

# Set by the program itself, or without effect on what is computed.
_OWN = {"GLIBC_TUNABLES", "JAX_COMPILATION_CACHE_DIR"}


def examine() -> Iterator[Finding]:
    """The findings, one by one as they are made."""
    installed = surroundings.installed()
    yield software.python()
    code, lock = software.code(Path(tunix_exp.__file__).resolve().parent)
    if lock is not None:
        yield software.packages(lock, installed)
    yield code
    config, cache = software.config()
    yield config
    yield from software.environment(
        os.environ, [name for name in surroundings.RECORDED_ENVIRONMENT if name not in _OWN]
    )
    smi, has_tpu = card.driver_says(), machine.has_tpu()
    yield machine.devices(has_nvidia=smi is not None, has_tpu=has_tpu)
    yield card.cuda(smi, installed, card.requirements(installed))
    yield machine.tpu(has_tpu=has_tpu)
    yield machine.host_memory()
    outputs = Path("outputs").absolute()
    yield machine.disk(shutil.disk_usage(machine.nearest(outputs)).free, machine.nearest(outputs))
    places = {
        "runs": outputs,
        "sweeps": Path("multirun").absolute(),
        "the Hub's files": Path(constants.HF_HUB_CACHE),
    }
    if cache not in (None, "null"):
        place = Path(cache).expanduser()
        yield machine.compilation_cache(place)
        places["compiled programs"] = place
    yield from machine.places(places)
    yield from hub()
