"""The command line: `key=value` words go to Hydra, a bare first word is a verb.

The only package that knows Hydra and OmegaConf. Below it a config is a `RunConfig`, whole and typed.
Exit status: 0 completed, 1 failed, 2 refused before it began, 3 a replay with other numbers, 4 completed but
worse than its baseline, 130 interrupted.
"""

import io
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from importlib import metadata
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tunix_exp import interruption, streams, verbs
from tunix_exp.cli.composing import (
    applicable,
    conf_folder,
    defaults,
    of_a_run,
    plainly,
    resolved,
    sweep_of,
    value_error,
    with_whole_model,
    without_strays,
)
from tunix_exp.cli.door import command_line, refuse
from tunix_exp.device import hosts
from tunix_exp.errors import UserError
from tunix_exp.evidence.kinds.composed import CONFIG, DEFAULTS
from tunix_exp.evidence.strict_json import json_text
from tunix_exp.exits import COMPLETED, FAILED, INTERRUPTED
from tunix_exp.sweep.config import SweepConfig
from tunix_exp.sweep.ledger import going_on

__all__ = ("applicable", "conf_folder", "main")


def main(argv: Sequence[str]) -> int:
    """The exit status of one command."""
    status = FAILED
    with streams.kept(), interruption.heeded():
        try:
            status = _done(argv)
        except UserError as error:
            status = refuse(error)
        except KeyboardInterrupt as stop:
            print(f"interrupted ({stop or 'Ctrl-C'}); no run was under way", file=sys.stderr)
            for note in getattr(stop, "__notes__", ()):
                print(note, file=sys.stderr)
            status = INTERRUPTED
        finally:
            hosts.leave(status)
    return status


def _done(argv: Sequence[str]) -> int:
    _refuse_nowhere()
    if "--version" in argv:
        print(_versions())
        return COMPLETED
    if argv and not argv[0].startswith("-") and "=" not in argv[0]:
        said = verbs.call(argv[0], list(argv[1:]), _composed)
        return said if isinstance(said, int) else _experiment(said)
    return _experiment(argv)


def _refuse_nowhere() -> None:
    try:
        os.getcwd()
    except OSError as error:
        raise UserError(
            f"the folder in which this was typed is gone: {error.strerror}",
            where="the working directory",
            remedy="cd to a folder that is there",
        ) from None


def _versions() -> str:
    """The version of the package, and of what it stands on."""
    others = ", ".join(f"{name} {metadata.version(name)}" for name in ("jax", "flax", "hydra-core"))
    return f"tunix_exp {metadata.version('tunix-exp')} ({others}, Python {platform.python_version()})"


# ── experiments ──────────────────────────────────────────────────────────────────────────────────────


def _experiment(argv: Sequence[str]) -> int:
    import hydra

    # Hydra then raises instead of printing, and the message is ours to make plain.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    argv = sorted(
        argv, key=lambda word: word not in ("-m", "--multirun")
    )  # Hydra takes it before words alone
    sys.argv = [sys.argv[0], *argv]
    try:
        with _shown_whole() if _shows(argv) else nullcontext():
            hydra.main(config_path=str(conf_folder()), config_name="config", version_base="1.3")(_job)()
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else FAILED
    except (HydraException, OmegaConfBaseException) as error:
        raise plainly(error) from None
    except ValueError as error:
        raise value_error(error, argv) or error from None
    return COMPLETED


def _shows(argv: Sequence[str]) -> bool:
    """Whether the whole config is to be printed instead of run."""
    is_shown = any(word == "-c" or word.startswith("--cfg") for word in argv)
    return is_shown and not any(word == "-p" or word.startswith("--package") for word in argv)


@contextmanager
def _shown_whole() -> Iterator[None]:
    """A config that Hydra prints inside is printed whole, and a comment says where its model is from."""
    with redirect_stdout(io.StringIO()) as said:
        yield
    text, found = said.getvalue(), None
    config = OmegaConf.create(text)
    if isinstance(config, DictConfig):  # a package of it may be a list
        config, found = with_whole_model(config)
    print(text if found is None else f"# {found.describe()}\n{OmegaConf.to_yaml(config)}", end="")


def _composed(words: Sequence[str]) -> dict[str, Any]:
    """The config of the experiment that the words are, which is not run."""
    try:
        with initialize_config_dir(str(conf_folder()), version_base="1.3"):
            return resolved(applicable(compose("config", list(words), return_hydra_config=True))[0])
    except (HydraException, OmegaConfBaseException) as error:
        raise plainly(error) from None
    except ValueError as error:
        raise value_error(error, words) or error from None


def _job(composed: DictConfig) -> float:
    """One experiment inside the directory that Hydra made for it; single runs end with their status.

    A job of a sweep gives its sweeper the value of `sweep.metric`.
    """
    from tunix_exp.cli.sweeping import hold
    from tunix_exp.launch import launch

    hydra = HydraConfig.get()
    directory = Path(hydra.runtime.output_dir)
    # A launcher may have begun a process of its own, in which nobody has done so yet.
    with streams.kept(), interruption.heeded():
        if hydra.mode is RunMode.MULTIRUN:
            hold(Path(hydra.sweep.dir), hydra.sweep.subdir)
        _record_defaults(directory)
        whole, notes, refusal = without_strays(of_a_run(composed), hydra), [], None
        try:
            whole, found = with_whole_model(whole)
            notes = [found.describe()] if found is not None else []
        except UserError as error:  # of one job of a sweep; a single run was refused at the door
            refusal = error
        if whole != composed:
            file = directory / CONFIG
            file.write_text(OmegaConf.to_yaml(whole), encoding="utf-8", newline="\n")
        status = launch(resolved(whole), directory, command=command_line(), notes=notes, refusal=refusal)
        if hydra.mode is not RunMode.MULTIRUN:
            raise SystemExit(status)
        return _ended(status, directory, Path(hydra.sweep.dir), sweep_of(composed))


def _ended(status: int, directory: Path, sweep: Path, config: SweepConfig) -> float:
    """The sweep's files have the job, whatever became of it."""
    from tunix_exp.cli.sweeping import files_of, objective_of

    with interruption.held():
        files_of(sweep, config).write(is_last=False)
    if status == INTERRUPTED:
        raise SystemExit(INTERRUPTED)
    if interruption.asked():
        print("interrupted: the sweep ends with the job that was under way", file=sys.stderr)
        print(f"to go on: {going_on(sweep)}", file=sys.stderr)
        raise SystemExit(INTERRUPTED)
    return objective_of(directory, config)


def _record_defaults(directory: Path) -> None:
    """Beside what Hydra recorded of this command lies what the command alone would have composed."""
    file = directory / DEFAULTS
    file.parent.mkdir(exist_ok=True)
    file.write_text(json_text(defaults(), file=DEFAULTS), encoding="utf-8", newline="\n")
