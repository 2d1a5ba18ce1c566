"""The command line: `key=value` words go to Hydra, a bare first word is a verb.

The only module that knows Hydra and OmegaConf. Below it a config is a `RunConfig`, whole and typed.
Exit status: 0 completed, 1 failed, 2 refused before it began, 3 a replay with other numbers, 4 completed but
worse than its baseline, 130 interrupted.
"""

import copy
import functools
import io
import os
import platform
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from importlib import metadata
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from tunix_exp import config as configs
from tunix_exp import interruption, streams, verbs
from tunix_exp.errors import UserError, did_you_mean, nearest
from tunix_exp.evaluation.config import refuse_lacking
from tunix_exp.evidence.kinds.composed import CONFIG, DEFAULTS
from tunix_exp.evidence.kinds.pages import REPORT
from tunix_exp.evidence.strict_json import json_text
from tunix_exp.exits import COMPLETED, FAILED, INTERRUPTED, REFUSED, REGRESSED
from tunix_exp.models.from_folder import FromFolder, from_folder

MANIFEST = "run_manifest.json"


def conf_folder() -> Path:
    """The Hydra tree: inside an installed package, at the top of a checkout."""
    package = Path(__file__).resolve().parent
    installed, checkout = package / "conf", package.parents[1] / "conf"
    for folder in (installed, checkout):
        if (folder / "config.yaml").is_file():
            return folder
    raise UserError(f"no config.yaml in {installed} or {checkout}", remedy="install the package again")


def main(argv: Sequence[str]) -> int:
    """The exit status of one command."""
    with streams.kept(), interruption.heeded():
        try:
            _refuse_nowhere()
            if "--version" in argv:
                print(_versions())
                return COMPLETED
            if argv and not argv[0].startswith("-") and "=" not in argv[0]:
                said = verbs.call(argv[0], list(argv[1:]), _composed)
                return said if isinstance(said, int) else _experiment(said)
            return _experiment(argv)
        except UserError as error:
            return _refuse(error)
        except KeyboardInterrupt as stop:
            print(f"interrupted ({stop or 'Ctrl-C'}); no run was under way", file=sys.stderr)
            return INTERRUPTED


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


def _refuse(error: UserError) -> int:
    print(f"error: {error}", file=sys.stderr)
    return REFUSED


# ── experiments ──────────────────────────────────────────────────────────────────────────────────────


def _experiment(argv: Sequence[str]) -> int:
    import hydra

    # Hydra then raises instead of printing, and the message is ours to make plain.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    sys.argv = [sys.argv[0], *argv]
    try:
        with _shown_whole() if _shows(argv) else nullcontext():
            hydra.main(config_path=str(conf_folder()), config_name="config", version_base="1.3")(_job)()
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else FAILED
    except (HydraException, OmegaConfBaseException) as error:
        raise _plain(error) from None
    except ValueError as error:
        if "integer string conversion" not in str(error):
            raise
        raise UserError(
            "a whole number has thousands of digits, which Python reads none of",
            where="the command line",
            remedy="write a number that can be meant; in quotes it is a text",
        ) from None
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
        config, found = _with_whole_model(config)
    print(text if found is None else f"# {found.describe()}\n{OmegaConf.to_yaml(config)}", end="")


def _composed(words: Sequence[str]) -> dict[str, Any]:
    """The config of the experiment that the words are, which is not run."""
    try:
        with initialize_config_dir(str(conf_folder()), version_base="1.3"):
            return _resolved(applicable(compose("config", list(words), return_hydra_config=True))[0])
    except (HydraException, OmegaConfBaseException) as error:
        raise _plain(error) from None


def applicable(config: DictConfig) -> tuple[DictConfig, FromFolder | None]:
    """What a run of the composed config is given, and what of its model came from a folder.

    Raises UserError where the folder that has to give it does not.
    """
    without_hydra = OmegaConf.masked_copy(config, [k for k in map(str, config) if k != "hydra"])
    return _with_whole_model(without_strays(without_hydra, config.hydra))


def _with_whole_model(config: DictConfig) -> tuple[DictConfig, FromFolder | None]:
    model = OmegaConf.select(config, "model")
    if not isinstance(model, DictConfig):
        return config, None  # refused by its type
    found = from_folder(_resolved(model))
    if found is not None:
        config = copy.deepcopy(config)
        config.model = found.model
    return config, found


def _job(composed: DictConfig) -> None:
    """One experiment inside the directory that Hydra made for it; single runs end with their status."""
    from tunix_exp.launch import launch

    hydra = HydraConfig.get()
    # A launcher may have begun a process of its own, in which nobody has done so yet.
    with streams.kept(), interruption.heeded():
        _record_defaults(Path(hydra.runtime.output_dir))
        whole, notes, refusal = without_strays(composed, hydra), [], None
        try:
            whole, found = _with_whole_model(whole)
            notes = [found.describe()] if found is not None else []
        except UserError as error:  # of one job of a sweep; a single run was refused at the door
            refusal = error
        if whole != composed:
            file = Path(hydra.runtime.output_dir) / CONFIG
            file.write_text(OmegaConf.to_yaml(whole), encoding="utf-8", newline="\n")
        directory = Path(hydra.runtime.output_dir)
        status = launch(_resolved(whole), directory, command=_command(), notes=notes, refusal=refusal)
        if hydra.mode is not RunMode.MULTIRUN:
            raise SystemExit(status)
        if status == INTERRUPTED or interruption.asked():
            raise SystemExit(INTERRUPTED)


def _record_defaults(directory: Path) -> None:
    """Beside what Hydra recorded of this command lies what the command alone would have composed."""
    file = directory / DEFAULTS
    file.parent.mkdir(exist_ok=True)
    file.write_text(json_text(_defaults(), file=DEFAULTS), encoding="utf-8", newline="\n")


@functools.cache  # once for all the jobs of a sweep
def _defaults() -> dict[str, Any]:
    # Hydra keeps one state for the process, and the job that is under way needs its own back.
    state = GlobalHydra.instance()
    job = state.hydra
    state.clear()
    try:
        with initialize_config_dir(str(conf_folder()), version_base="1.3"):
            return _resolved(compose("config"))
    finally:
        GlobalHydra.instance().clear()
        if job is not None:
            GlobalHydra.instance().initialize(job)


def without_strays(composed: DictConfig, hydra: Any) -> DictConfig:
    """The config without what an experiment or `sizes` set of an option that is not the chosen one.

    What is typed stays, and is refused: nobody types a key to have it ignored.
    """
    applicable = copy.deepcopy(composed)
    typed = {word.lstrip("+~").partition("=")[0] for word in hydra.overrides.task}
    for key in _overlaid(hydra):
        plain = OmegaConf.to_container(applicable)
        assert isinstance(plain, dict)
        if key not in typed and configs.is_of_another_option({str(k): v for k, v in plain.items()}, key):
            group, _, leaf = key.rpartition(".")
            section = OmegaConf.select(applicable, group)
            if section is not None and leaf in section:
                with open_dict(section):
                    del section[leaf]
    return applicable


def _overlaid(hydra: Any) -> list[str]:
    """The keys that the chosen experiment and the sizes of the mode set, whatever the options are."""
    keys = []
    for group in ("experiment", "sizes"):
        choice = OmegaConf.select(hydra, f"runtime.choices.{group}")
        folders = [Path(source.path) for source in hydra.runtime.config_sources if source.schema == "file"]
        files = [folder / group / f"{choice}.yaml" for folder in folders]
        for file in (file for file in files if choice is not None and file.is_file()):
            body = OmegaConf.to_container(OmegaConf.load(file))
            assert isinstance(body, dict)
            keys += [key for key, _ in configs.leaves({str(k): v for k, v in body.items()}) if "." in key]
    return keys


def _resolved(composed: DictConfig) -> dict[str, Any]:
    plain = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def _command() -> list[str]:
    return ["python", "-m", "tunix_exp", *sys.argv[1:]]


class Door(Callback):
    """Stands before Hydra makes a directory: a config that is refused leaves nothing behind."""

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """Refuse a wrong config, or a directory in which a run already lies."""
        try:
            refuse_lacking(configs.validate(_resolved(applicable(config)[0])).eval)
            _refuse_used(Path(config.hydra.run.dir))
            _refuse_unwritable(Path(config.hydra.run.dir))
        except UserError as error:
            # Hydra turns a callback's exceptions into warnings; SystemExit is none.
            raise SystemExit(_refuse(error)) from None
        except OmegaConfBaseException as error:
            raise SystemExit(_refuse(_plain(error))) from None

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Refuse a sweep directory in which runs already lie."""
        try:
            sweep = Path(config.hydra.sweep.dir)
            for used in (sweep, *(sweep.iterdir() if sweep.is_dir() else ())):
                _refuse_used(used)
            _refuse_unwritable(sweep)
        except UserError as error:
            raise SystemExit(_refuse(error)) from None

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Say how each job ended; the sweep fails or regresses when one of them did."""
        from tunix_exp.evidence.verify import runs_at
        from tunix_exp.report.outcomes import outcomes, table
        from tunix_exp.report.page.write import write_page

        sweep = Path(config.hydra.sweep.dir)
        rows = outcomes(sweep)
        print(table(rows))
        try:
            write_page(runs_at(sweep), sweep / REPORT.path, title="/".join(sweep.resolve().parts[-2:]))
        except UserError as error:
            raise SystemExit(_refuse(error)) from None
        if any(row.status != "completed" for row in rows):
            raise SystemExit(FAILED)
        if any(row.is_regressed for row in rows):
            raise SystemExit(REGRESSED)


def _refuse_used(directory: Path) -> None:
    try:
        is_used = (directory / MANIFEST).exists()
    except OSError:
        return  # a path that the system refuses is refused with its reason, below
    if is_used:
        raise UserError(
            f"{directory} already holds a run",
            where="hydra.run.dir / hydra.sweep.dir",
            remedy=f"name another directory; to finish that run, `python -m tunix_exp finish {directory}`",
        )


def _refuse_unwritable(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except (OSError, ValueError) as error:  # the latter of a NUL in the path
        why = error.strerror if isinstance(error, OSError) else error
        raise UserError(
            f"the run directory cannot be written: {why}",
            where=str(directory),
            remedy="name another place with hydra.run.dir=… (sweeps: hydra.sweep.dir=…)",
        ) from None


def _plain(error: Exception) -> UserError:
    """Hydra's or OmegaConf's complaint as what, where and remedy."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file is not None:
        group, _, option = error.missing_cfg_file.rpartition("/")
        options = list(error.options or ())
        return UserError(
            f"`{group}` has no option `{option}`{did_you_mean(nearest(option, options))}",
            where=f"{group}={option}",
            remedy=f"options: {', '.join(options)}",
        )
    cause = error.__cause__
    full_key = getattr(cause, "full_key", None) or getattr(error, "full_key", None)
    if full_key and isinstance(error, ConfigCompositionException):
        remedy = "`python -m tunix_exp --cfg job` shows every key with its value"
        if full_key.startswith("model.") and full_key in configs.known_keys():
            remedy += f"; `+{full_key}=…` types a key that model=hf leaves to the folder"
        return UserError(configs.unknown(full_key), where="the command line", remedy=remedy)
    text = str(error) if cause is None else f"{error} ({cause})"
    return UserError(" ".join(text.split()), where="the command line", remedy="--help shows the grammar")
