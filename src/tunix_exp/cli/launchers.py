"""Launchers: whether all jobs run in this process, and what processes that serve several jobs cannot run."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from tunix_exp import config as configs
from tunix_exp.device import environment
from tunix_exp.errors import UserError

Environment = dict[str, str]

# Hydra's plugins have them; options of `conf/hydra/launcher/` are made of them.
OF_THE_EXTRA = ("joblib", "submitit_local", "submitit_slurm", "ray")

# Ray would begin its workers by `uv run` in a copy of the folder, where no run directory lies; and would
# report that it is used.
_OF_RAY = {"RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0", "RAY_USAGE_STATS_ENABLED": "0"}


def instantiated(context: HydraContext, task: TaskFunction, config: DictConfig) -> Launcher:
    """The launcher that was chosen."""
    for name, value in _OF_RAY.items():
        os.environ.setdefault(name, value)
    return Plugins.instance().instantiate_launcher(hydra_context=context, task_function=task, config=config)


def is_in_process(launcher: Any) -> bool:
    """Whether it runs every job in this process, one after another."""
    if is_joblib(launcher):
        from joblib import effective_n_jobs

        return effective_n_jobs(launcher.joblib["n_jobs"]) == 1
    return _name(launcher) == "BasicLauncher"


def is_joblib(launcher: Any) -> bool:
    """Whether it is joblib's, whose processes serve one job after another."""
    return _name(launcher) == "JoblibLauncher"


def end_kept() -> None:
    """The processes that joblib keeps have ended; its next batch gets others."""
    from joblib.externals.loky import get_reusable_executor

    get_reusable_executor().shutdown(wait=True)


def environment_of(plain: Mapping[str, Any] | None) -> Environment | None:
    """What a job of this config wants of its process; none where it fails before that is set."""
    try:
        config = None if plain is None else configs.validate(plain)
    except UserError:
        return None
    return config and environment.wanted(config.device, preflight=config.mode.name == "preflight")


def refuse_several_environments(jobs: Sequence[tuple[str, Environment | None]]) -> None:
    """Raise UserError where one process cannot run all jobs, each of them a name and what it wants."""
    before, environ = None, dict(os.environ)
    for name, wanted in jobs:
        if wanted is None:
            continue
        wrong = environment.unlike(wanted, environ) if before is not None else {}
        if wrong:
            own = ", ".join(f"{key}={wanted.get(key)!r}" for key in wrong)
            others = ", ".join(f"{key}={value!r}" for key, value in wrong.items())
            raise UserError(
                "all jobs of this launcher run in one process, which serves one device config, and they have"
                f" several: {name} takes {own}, {before} {others}",
                where="hydra/launcher",
                remedy="choose a launcher with processes of its own (uv sync --extra sweep):"
                " hydra/launcher=joblib_processes, submitit_processes, slurm, ray_local or ray_cluster",
            )
        before = name if before is None else before
        environ |= wanted


def _name(launcher: Launcher) -> str:
    """The name of its class: the class itself is another after each of Hydra's looks for plugins."""
    return type(launcher).__name__
