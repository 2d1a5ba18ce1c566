"""`checkpoints/` and `export/`: what libraries write, each of it once."""

from pathlib import Path

from tunix_exp.evidence.kinds.kind import Disagreement, Found, Kind, at_times, when_trained
from tunix_exp.evidence.opened import OpenedRun

_README = "README.md"
# What each form of `training.export` leaves, at the least.
_EXPORTED = {
    "hf": ("config.json", "generation_config.json", _README),
    "peft": ("adapter_config.json", "adapter_model.safetensors", _README),
}


def steps_saved(root: Path) -> list[int]:
    """The steps whose state lies in the run at `root`, in order."""
    return sorted(int(one.name) for one in (root / CHECKPOINTS.path).glob("*") if one.name.isdigit())


def _newest(run: OpenedRun) -> Found:
    """The newest checkpoint is of the last step."""
    done, saved = run.manifest.steps_done, steps_saved(run.root)
    if done is not None and saved and saved[-1] != done:
        yield f"the newest is of step {saved[-1]}, but {done} steps were done"


def _exported(run: OpenedRun) -> Found:
    """There is an export in every form that was asked for, and in no other."""
    asked = run.setting("training.export") if run.facts.computes else []
    for form, names in _EXPORTED.items():
        folder = f"{EXPORT.path}{form}/"
        for name in names if form in asked else ():
            if not run.has(folder + name):
                yield Disagreement(folder + name, f"is missing: config.json has training.export={asked}")
        if form not in asked and run.has(folder):
            yield Disagreement(folder, f"config.json has training.export={asked}")


def _logs(run: OpenedRun) -> Found:
    """Every process but the first, which writes the run's own, has left its log."""
    for host in (run.manifest.hosts or ())[1:]:
        if not run.has(log := f"{HOST_LOGS.path}{host.process}.log"):
            yield Disagreement(log, f"is missing: the manifest's `hosts` has process {host.process}")


HOST_LOGS = Kind(
    path="hosts/",
    name="logs of the other processes",
    holds="what each process but the first said, in a run of several",
    when=at_times,
    is_open=True,
    integrity=(_logs,),
)
CHECKPOINTS = Kind(
    path="checkpoints/",
    name="checkpoints",
    holds="parameters and optimizer state, for resuming",
    when=when_trained,
    is_open=True,  # too large to be read twice
    integrity=(_newest,),
)
EXPORT = Kind(
    path="export/",
    name="export",
    holds="the model for transformers, the adapter for PEFT",
    when=at_times,
    integrity=(_exported,),
)
