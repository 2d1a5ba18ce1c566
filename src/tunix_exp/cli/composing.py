"""Hydra's composed config as the plain one of a run, and its complaints as what, where and remedy."""

import copy
import functools
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import ConfigCompositionException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf, open_dict

from tunix_exp import config as configs
from tunix_exp.cli.launchers import OF_THE_EXTRA
from tunix_exp.errors import UserError, did_you_mean, nearest
from tunix_exp.models.from_folder import FromFolder, from_folder
from tunix_exp.sweep.config import SweepConfig, sweep_config

SWEEP = "sweep"
_AMBIGUOUS = re.compile("Ambiguous value for argument '(.*)'$", re.MULTILINE)


@functools.cache  # asked for again and again, and it does not move
def conf_folder() -> Path:
    """The Hydra tree: inside an installed package, at the top of a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed, checkout = package / "conf", package.parents[1] / "conf"
    for folder in (installed, checkout):
        if (folder / "config.yaml").is_file():
            return folder
    raise UserError(f"no config.yaml in {installed} or {checkout}", remedy="install the package again")


def applicable(config: DictConfig) -> tuple[DictConfig, FromFolder | None]:
    """What a run of the composed config is given, and what of its model came from a folder.

    Raises UserError where the folder that has to give it does not.
    """
    return with_whole_model(without_strays(of_a_run(config), config.hydra))


def of_a_run(config: DictConfig) -> DictConfig:
    """The config without what is Hydra's and what is a sweep's: neither decides anything of a run."""
    return OmegaConf.masked_copy(config, [key for key in map(str, config) if key not in ("hydra", SWEEP)])


def sweep_of(config: DictConfig) -> SweepConfig:
    """What a sweep's jobs are compared by; a UserError where that is no section of known keys."""
    section = OmegaConf.select(config, SWEEP)
    return sweep_config(resolved(section) if isinstance(section, DictConfig) else {})


def with_whole_model(config: DictConfig) -> tuple[DictConfig, FromFolder | None]:
    """The config with every key of a model that comes from a folder, and what came from there."""
    model = OmegaConf.select(config, "model")
    if not isinstance(model, DictConfig):
        return config, None  # refused by its type
    found = from_folder(resolved(model))
    if found is not None:
        config = copy.deepcopy(config)
        config.model = found.model
    return config, found


def without_strays(composed: DictConfig, hydra: Any) -> DictConfig:
    """The config without what an experiment or `sizes` set of an option that is not the chosen one.

    What is typed stays, and is refused: nobody types a key to have it ignored.
    """
    applicable = copy.deepcopy(composed)
    typed = {word.lstrip("+~").partition("=")[0] for word in hydra.overrides.task}
    plain = _plain(applicable)
    for key in _overlaid(hydra):
        if key not in typed and configs.is_of_another_option(plain, key):
            group, _, leaf = key.rpartition(".")
            section = OmegaConf.select(applicable, group)
            if section is not None and leaf in section:
                with open_dict(section):
                    del section[leaf]
                plain = _plain(applicable)
    return applicable


def _plain(config: DictConfig) -> dict[str, Any]:
    """The config as plain values, its interpolations as they are written."""
    plain = OmegaConf.to_container(config)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def _overlaid(hydra: Any) -> list[str]:
    """The keys that the chosen experiment and the sizes of the mode set, whatever the options are."""
    keys = []
    for group in ("experiment", "sizes"):
        choice = OmegaConf.select(hydra, f"runtime.choices.{group}")
        folders = [Path(source.path) for source in hydra.runtime.config_sources if source.schema == "file"]
        files = [folder / group / f"{choice}.yaml" for folder in folders]
        for file in (file for file in files if choice is not None and file.is_file()):
            keys += _said(file, file.stat().st_mtime_ns)
    return keys


@functools.cache  # once for all the jobs of a sweep
def _said(file: Path, _changed: int) -> list[str]:
    """The keys of the sections of which the file says something."""
    body = OmegaConf.load(file)
    assert isinstance(body, DictConfig)
    return [key for key, _ in configs.leaves(_plain(body)) if "." in key]


def resolved(composed: DictConfig) -> dict[str, Any]:
    """The config as plain values, every interpolation replaced."""
    plain = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


@functools.cache  # once for all the jobs of a sweep
def defaults() -> dict[str, Any]:
    """What the command alone composes, without any words behind it."""
    # Hydra keeps one state for the process, and the job that is under way needs its own back.
    state = GlobalHydra.instance()
    job = state.hydra
    state.clear()
    try:
        with initialize_config_dir(str(conf_folder()), version_base="1.3"):
            return resolved(of_a_run(compose("config")))
    finally:
        GlobalHydra.instance().clear()
        if job is not None:
            GlobalHydra.instance().initialize(job)


def plainly(error: Exception) -> UserError:
    """Hydra's or OmegaConf's complaint as what, where and remedy."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file is not None:
        group, _, option = error.missing_cfg_file.rpartition("/")
        if group == "hydra/launcher" and option in OF_THE_EXTRA:
            return UserError(
                f"the launcher `{option}` is not installed", where=group, remedy="uv sync --extra sweep"
            )
        options = list(error.options or ())
        return UserError(
            f"`{group}` has no option `{option}`{did_you_mean(nearest(option, options))}",
            where=f"{group}={option}",
            remedy=f"options: {', '.join(options)}",
        )
    if isinstance(error, OverrideParseException):
        says = " ".join(error.message.partition("See https:")[0].split())
        return UserError(
            f"`{error.override}` cannot be read"
            + ("" if says.startswith("LexerNoViable") else f": {says}"),  # which repeats the word
            where="the command line",
            remedy=f"a text is put in quotes, and once more for the shell: {_as_text(error.override)}",
        )
    if ambiguous := _AMBIGUOUS.match(str(error)):
        word = ambiguous[1]
        key, _, value = word.partition("=")
        return UserError(
            f"`{word}` may be a text, a list or a sweep",
            where="the command line",
            remedy=f"a text: {_as_text(word)}; a list: {shlex.quote(f'{key}=[{value}]')}; a sweep: -m {word}",
        )
    cause = error.__cause__
    full_key = getattr(cause, "full_key", None) or getattr(error, "full_key", None)
    if full_key and isinstance(error, ConfigCompositionException):
        remedy = "`python -m tunix_exp --cfg job` shows every key with its value"
        if full_key.startswith("model.") and full_key in configs.known_keys():
            remedy += f"; `+{full_key}=…` types a key that model=hf leaves to the folder"
        return UserError(configs.unknown(full_key), where="the command line", remedy=remedy)
    text = str(error) if cause is None else f"{error} ({cause})"
    return UserError(
        " ".join(text.split()), where="the command line", remedy="--help shows the words that are taken"
    )


def value_error(error: ValueError, words: Sequence[str]) -> UserError | None:
    """A complaint for which Hydra has no class of its own, as what, where and remedy; `None` of any other."""
    says = str(error)
    if "can be specified" in says:
        return UserError(
            says.rstrip("."),
            where="the command line",
            remedy="leave out the others: --cfg without -m shows what the jobs of a sweep begin from",
        )
    if "integer string conversion" in says:
        return UserError(
            "a whole number has thousands of digits, which Python reads none of",
            where="the command line",
            remedy="write a number that can be meant; in quotes it is a text",
        )
    return _no_option(words) if says.startswith("Config group override") else None


def _no_option(words: Sequence[str]) -> UserError | None:
    """The refusal of the first word that gives a group what is no option's name: null, a number, a truth."""
    for word in words:
        key, _, value = word.partition("=")
        group = key.lstrip("+~")
        options = sorted(file.stem for file in (conf_folder() / group).glob("*.yaml"))
        strange = [one for one in value.split(",") if one not in options]
        if options and strange:
            remedy = f"options: {', '.join(options)}"
            if {group: None} in list(OmegaConf.load(conf_folder() / "config.yaml").defaults):
                remedy += "; for none of them leave the word out"
            return UserError(f"`{group}` has no option `{strange[0]}`", where=word, remedy=remedy)
    return None


def _as_text(word: str) -> str:
    """The word `key=value` as a shell passes it on and Hydra reads its value as a text."""
    key, _, value = word.partition("=")
    return shlex.quote(f"{key}={QuotedString(value, Quote.double).with_quotes()}")
