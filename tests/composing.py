"""Compose the project's own config tree, as the command line does."""

import copy
import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hydra import compose, initialize_config_dir
from hydra._internal.config_repository import ConfigRepository
from omegaconf import OmegaConf

from tunix_exp.cli import conf_folder, without_strays

GROUPS = ("adapter", "data", "device", "eval", "mode", "model", "objective", "optim", "training")


def options(group: str) -> list[str]:
    """The names that `group=` takes."""
    return sorted(path.stem for path in (conf_folder() / group).glob("*.yaml"))


def composed(*overrides: str) -> dict[str, Any]:
    """The plain config of `python -m tunix_exp *overrides`, the caller's to change."""
    return copy.deepcopy(_composed(*overrides))


@functools.cache
def _composed(*overrides: str) -> dict[str, Any]:
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        config = compose("config", overrides=list(overrides), return_hydra_config=True)
    own = OmegaConf.masked_copy(config, [key for key in map(str, config) if key != "hydra"])
    plain = OmegaConf.to_container(without_strays(own, config.hydra), resolve=True, throw_on_missing=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


@contextmanager
def files_read_once() -> Iterator[None]:
    """Inside, Hydra reads each file of the project's tree once, not once for each of thousands of configs."""
    read, kept = ConfigRepository.load_config, {}

    def load_config(repository: ConfigRepository, config_path: str) -> Any:
        sources = tuple(f"{source.scheme()}://{source.path}" for source in repository.sources)
        if not {s for s in sources if s.startswith("file:")} <= {f"file://{conf_folder()}"}:
            return read(repository, config_path)
        if (sources, config_path) not in kept:
            kept[sources, config_path] = read(repository, config_path)
        return copy.deepcopy(kept[sources, config_path])

    ConfigRepository.load_config = load_config
    yield
    ConfigRepository.load_config = read
