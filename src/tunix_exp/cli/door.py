"""What stands before and behind Hydra's runs: refusals that leave nothing behind, and a sweep's last word."""

import sys
import tempfile
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tunix_exp import config as configs
from tunix_exp.cli.composing import applicable, plainly, resolved, sweep_of
from tunix_exp.device import environment, hosts
from tunix_exp.errors import UserError
from tunix_exp.evaluation.config import refuse_lacking
from tunix_exp.evidence.layout import MANIFEST
from tunix_exp.exits import FAILED, REFUSED, REGRESSED
from tunix_exp.sweep import ledger


class Door(Callback):
    """Stands before Hydra makes a directory: a config that is refused leaves nothing behind."""

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """Refuse a wrong config, or a directory in which a run already lies."""
        try:
            sweep_of(config)
            whole, found = applicable(config)
            plain = resolved(whole)
            valid = configs.validate(plain)
            refuse_lacking(valid.eval)
            _refuse_used(Path(config.hydra.run.dir))
            if valid.device.distributed.is_wanted:
                environment.apply(valid.device, preflight=False)
                hosts.join(valid.device.distributed)
            if hosts.index() > 0:
                from tunix_exp.launch import follow

                notes = [] if found is None else [found.describe()]
                raise SystemExit(follow(plain, command=command_line(), notes=notes))
            _refuse_unwritable(Path(config.hydra.run.dir))
        except UserError as error:
            # Hydra turns a callback's exceptions into warnings; SystemExit is none.
            raise SystemExit(refuse(error)) from None
        except OmegaConfBaseException as error:
            raise SystemExit(refuse(plainly(error))) from None

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Refuse a sweep directory in which runs already lie, unless it is the sweep's own to go on with."""
        try:
            sweep_of(config)
            sweep = Path(config.hydra.sweep.dir)
            if OmegaConf.select(config, "hydra.sweeper.resume"):
                return
            if ledger.has_one(sweep):
                raise UserError(
                    f"{sweep} already holds a sweep",
                    where="hydra.sweep.dir",
                    remedy=f"name another directory; to go on, `python -m tunix_exp sweep resume {sweep}`",
                )
            for used in (sweep, *(sweep.iterdir() if sweep.is_dir() else ())):
                _refuse_used(used)
            _refuse_unwritable(sweep)
        except UserError as error:
            raise SystemExit(refuse(error)) from None
        except OmegaConfBaseException as error:
            raise SystemExit(refuse(plainly(error))) from None

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Say how each job ended and which was best; the sweep fails or regresses when one of them did."""
        from tunix_exp.cli.sweeping import files_of
        from tunix_exp.report.sweep import console

        try:
            summary = files_of(Path(config.hydra.sweep.dir), sweep_of(config)).write(is_last=True)
        except UserError as error:
            raise SystemExit(refuse(error)) from None
        print(console(summary))
        # what another process runs, that process will answer for
        if any(job["status"] not in ("completed", "running") for job in summary["jobs"]):
            raise SystemExit(FAILED)
        if any(job["is_regressed"] for job in summary["jobs"]):
            raise SystemExit(REGRESSED)


def command_line() -> list[str]:
    """The command as it was typed."""
    return ["python", "-m", "tunix_exp", *sys.argv[1:]]


def refuse(error: UserError) -> int:
    """The exit status of a command that is refused, once the error is told."""
    print(f"error: {error}", file=sys.stderr)
    return REFUSED


def _refuse_used(directory: Path) -> None:
    try:
        places = (directory, *directory.resolve().parents)
        used = next((place for place in places if (place / MANIFEST).exists()), None)
    except (OSError, ValueError):
        return  # a path that the system refuses is refused with its reason, below
    if used is not None:
        lies = "already holds a run" if used == directory else f"lies in the directory of a run, {used}"
        raise UserError(
            f"{directory} {lies}",
            where="hydra.run.dir / hydra.sweep.dir",
            remedy=f"name another directory; to finish that run, `python -m tunix_exp finish {used}`",
        )


def _refuse_unwritable(directory: Path) -> None:
    try:
        was_there = directory.exists()
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
        if not was_there:
            directory.rmdir()  # what is refused after this leaves nothing either
    except (OSError, ValueError) as error:  # the latter of a NUL in the path
        why = error.strerror if isinstance(error, OSError) else error
        raise UserError(
            f"the run directory cannot be written: {why}",
            where=str(directory),
            remedy="name another place with hydra.run.dir=… (sweeps: hydra.sweep.dir=…)",
        ) from None
