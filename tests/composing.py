"""Compose the project's own config tree, as the command line does."""

import copy
import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hydra import compose, initialize_config_dir
from hydra._internal import defaults_list
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra._internal.hydra import Hydra
from omegaconf import OmegaConf, base

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
def composed_quickly() -> Iterator[None]:
    """Inside, Hydra does once what it does again for each of thousands of configs, with the same result.

    It parses each file of the project's tree and each interpolation once; it makes what interpolations of a
    defaults list may name where there is one; it composes a config to know its mode where a word names one.
    """
    parse, base.parse = base.parse, functools.cache(base.parse)
    read, kept = ConfigRepository.load_config, {}
    embed = ConfigLoaderImpl._embed_result_config
    choices, mode = defaults_list._create_interpolation_map, Hydra.get_mode

    def load_config(repository: ConfigRepository, config_path: str) -> Any:
        sources = tuple(f"{source.scheme()}://{source.path}" for source in repository.sources)
        if not {s for s in sources if s.startswith("file:")} <= {f"file://{conf_folder()}"}:
            return read(repository, config_path)
        if (sources, config_path) not in kept:
            kept[sources, config_path] = read(repository, config_path)
        return kept[sources, config_path]

    def embedded(result: Any, package: str | None) -> Any:
        """What was read stays as it is: what Hydra does not copy into a package is copied here."""
        found = embed(result, package)
        return copy.deepcopy(found) if found is result else found

    def interpolation_map(overrides: Any, defaults: Any, self_added: bool) -> Any:
        has_any = any(default.is_interpolation() for default in defaults)
        return choices(overrides, defaults, self_added) if has_any else None

    def get_mode(hydra: Hydra, config_name: str | None, overrides: list[str]) -> Any:
        return mode(hydra, config_name, overrides) if "hydra.mode" in " ".join(overrides) else None

    ConfigRepository.load_config = load_config
    ConfigLoaderImpl._embed_result_config = staticmethod(embedded)
    defaults_list._create_interpolation_map = interpolation_map
    Hydra.get_mode = get_mode
    yield
    base.parse = parse
    ConfigRepository.load_config = read
    ConfigLoaderImpl._embed_result_config = staticmethod(embed)
    defaults_list._create_interpolation_map = choices
    Hydra.get_mode = mode
