"""Compose the project's own config tree, as the command line does."""

import copy
import functools
import itertools
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra._internal import defaults_list
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra._internal.hydra import Hydra
from omegaconf import OmegaConf, base
from safetensors.numpy import save_file

from tunix_exp.cli import applicable, conf_folder
from tunix_exp.config import validate
from tunix_exp.models.families.registry import weight_maps
from tunix_exp.models.weight_map import config_json

GROUPS = ("adapter", "data", "device", "eval", "mode", "model", "objective", "optim", "training")


def options(group: str) -> list[str]:
    """The names that `group=` takes."""
    return sorted(path.stem for path in (conf_folder() / group).glob("*.yaml"))


TWO_SETS = (
    "data.mix={one:{source:a.jsonl,weight:2},two:{source:b.jsonl,weight:1,fields:{question:q,answer:a}}}"
)


def with_sets(*overrides: str) -> tuple[str, ...]:
    """The words, and two sets for `data=mix`, which is nothing without any, where they name none."""
    has_sets = any(word.startswith("data.mix=") or word in of_mixtures() for word in overrides)
    return (TWO_SETS, *overrides) if "data=mix" in overrides and not has_sets else overrides


@functools.cache
def of_mixtures() -> dict[str, bool]:
    """The experiments that say what becomes of a mixture's sets, and whether they name sets of their own."""
    read = {
        name: yaml.safe_load((conf_folder() / "experiment" / f"{name}.yaml").read_text()).get("data", {})
        for name in options("experiment")
    }
    return {f"experiment={name}": data["mix"] is not None for name, data in read.items() if "mix" in data}


def with_their_own_sets() -> list[str]:
    """The experiments that name the sets of a mixture."""
    return [word for word, has_sets in of_mixtures().items() if has_sets]


@functools.cache
def hf_folder() -> Path:
    """A folder of which `model=hf` takes a Llama: its configs are whole, and it holds the first tensor."""
    folder = Path(tempfile.mkdtemp())
    model = validate(composed("model=tiny-llama", "model.num_positions=8192")).model
    weight_map = weight_maps()[model.family]
    (folder / "config.json").write_text(json.dumps(config_json(model, weight_map)))
    save_file({"model.norm.weight": np.ones(model.width, np.float32)}, folder / "model.safetensors")
    return folder


def composed(*overrides: str) -> dict[str, Any]:
    """The plain config of `python -m tunix_exp *overrides`, the caller's to change.

    `model=hf`, which is nothing without a folder, gets one where it names none.
    """
    if "model=hf" in overrides and not any(word.startswith("model.weights=") for word in overrides):
        overrides = (*overrides, f"model.weights={hf_folder()}", "model.tokenizer=bundled:bytes")
    return copy.deepcopy(_composed(*overrides))


@functools.cache
def _composed(*overrides: str) -> dict[str, Any]:
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        config = compose("config", overrides=list(overrides), return_hydra_config=True)
    plain = OmegaConf.to_container(applicable(config)[0], resolve=True, throw_on_missing=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


@contextmanager
def composed_quickly() -> Iterator[None]:
    """Inside, Hydra does once what it does again for each of thousands of configs, with the same result.

    It parses each file of the project's tree and each interpolation once, and merges its own section once; it
    makes what interpolations of a defaults list may name where there is one; and it composes a config to know
    its mode only where a word names a mode.
    """
    read, files = ConfigRepository.load_config, {}
    load, embed = ConfigLoaderImpl._load_single_config, ConfigLoaderImpl._embed_result_config
    merge, heads = ConfigLoaderImpl._compose_config_from_defaults_list, {}
    choices = defaults_list._create_interpolation_map
    mode = Hydra.get_mode

    def load_config(repository: ConfigRepository, config_path: str) -> Any:
        sources = tuple(f"{source.scheme()}://{source.path}" for source in repository.sources)
        if not {s for s in sources if s.startswith("file:")} <= {f"file://{conf_folder()}"}:
            return read(repository, config_path)
        if (sources, config_path) not in files:
            files[sources, config_path] = read(repository, config_path)
        return files[sources, config_path]

    def embedded(result: Any, package: str | None) -> Any:
        """What was read stays as it is: what Hydra does not copy into a package is copied here."""
        found = embed(result, package)
        return copy.deepcopy(found) if found is result else found

    def load_single_config(loader: ConfigLoaderImpl, default: Any, repo: Any) -> Any:
        return default if isinstance(default, SimpleNamespace) else load(loader, default, repo)

    def merged(loader: ConfigLoaderImpl, defaults: list[Any], repo: Any) -> Any:
        head = list(itertools.takewhile(lambda default: default.config_path.startswith("hydra/"), defaults))
        sources = ((source.scheme(), source.path) for source in repo.get_sources())
        key = (*sources, *((default.config_path, default.package) for default in head))
        if key not in heads:
            heads[key] = merge(loader, head, repo)
        first = SimpleNamespace(config_path="hydra", config=copy.deepcopy(heads[key]))
        return merge(loader, [first, *defaults[len(head) :]], repo)

    def interpolation_map(overrides: Any, defaults: Any, self_added: bool) -> Any:
        has_any = any(default.is_interpolation() for default in defaults)
        return choices(overrides, defaults, self_added) if has_any else None

    def get_mode(hydra: Hydra, config_name: str | None, overrides: list[str]) -> Any:
        return mode(hydra, config_name, overrides) if "hydra.mode" in " ".join(overrides) else None

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base, "parse", functools.cache(base.parse))
        patch.setattr(ConfigRepository, "load_config", load_config)
        patch.setattr(ConfigLoaderImpl, "_embed_result_config", staticmethod(embedded))
        patch.setattr(ConfigLoaderImpl, "_load_single_config", load_single_config)
        patch.setattr(ConfigLoaderImpl, "_compose_config_from_defaults_list", merged)
        patch.setattr(defaults_list, "_create_interpolation_map", interpolation_map)
        patch.setattr(Hydra, "get_mode", get_mode)
        yield
