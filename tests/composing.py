"""Compose the project's own config tree, as the command line does."""

from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from tunix_exp.cli import conf_folder, without_strays

GROUPS = ("adapter", "data", "device", "eval", "mode", "model", "optim", "training")


def options(group: str) -> list[str]:
    """The names that `group=` takes."""
    return sorted(path.stem for path in (conf_folder() / group).glob("*.yaml"))


def composed(*overrides: str) -> dict[str, Any]:
    """The plain config of `python -m tunix_exp *overrides`."""
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        config = compose("config", overrides=list(overrides), return_hydra_config=True)
    own = OmegaConf.masked_copy(config, [key for key in map(str, config) if key != "hydra"])
    plain = OmegaConf.to_container(without_strays(own, config.hydra), resolve=True, throw_on_missing=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}
