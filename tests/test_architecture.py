"""Imports point downwards, and what must start fast imports nothing heavy."""

import ast
import functools
import re
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import pytest

from tunix_exp.objectives.registry import PACKAGES

ROOT = Path(__file__).parents[1] / "src" / "tunix_exp"
LAYERS = {
    "errors": 0, "numbers": 0, "schema": 0, "exits": 0, "host_memory": 0, "programs": 0, "json_text": 0,
    "streams": 0,
    "interruption": 1, "references": 1, "received": 1,
    "hub": 2, "scoring": 2,
    "models": 3, "device": 3, "evidence": 3,
    "data": 4,
    "training": 6, "evaluation": 6, "sweep": 6,
    "objectives": 7,
    "report": 7, "config": 7,
    "stages": 8,
    "run": 9, "witness": 9, "launch": 10,
    "replay": 11, "doctor": 11,
    "verbs": 12,
    "cli": 13, "__main__": 14,
    # what names objectives, and what they are to training: everybody may know these, and no objective
    "objectives.registry": 1, "objectives.metric": 1, "objectives.objective": 5,
    # the problems and their steps, of the standard library alone: a score may compute the steps that are due
    "data.generators": 1,
}  # fmt: skip
FAST = ["tunix_exp.cli", "tunix_exp.config", "tunix_exp.launch", "tunix_exp.evidence.verify"]
FAST += ["tunix_exp.verbs", "tunix_exp.verbs.verify", "tunix_exp.verbs.replay"]
FAST += ["tunix_exp.verbs.report", "tunix_exp.verbs.compare", "tunix_exp.verbs.data"]
FAST += [f"tunix_exp.{name}" for name in ("models", "data", "device", "training", "evaluation", "hub")]
FAST += ["tunix_exp.objectives.registry"]
FAST += [f"{package}.{part}" for package in PACKAGES.values() for part in ("config", "evidence")]
MODULES = sorted(ROOT.rglob("*.py"))
HEAVY = {
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax",
    "grain",
    "transformers",
    "datasets",
    "matplotlib",
    "jinja2",
    "scipy",
    "pyarrow",
}


def package_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def layer(parts: Sequence[str]) -> int:
    """That of the module, where it has one of its own, or that of its package."""
    return LAYERS.get(".".join(parts[:2]), LAYERS[parts[0]])


def is_module(name: str) -> bool:
    inside = ROOT.parent.joinpath(*name.split("."))
    return inside.is_dir() or inside.with_suffix(".py").is_file()


@functools.cache
def imports(path: Path) -> set[str]:
    """Every module that `path` imports, at whatever depth of the code."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            assert node.module is not None
            named = {f"{node.module}.{alias.name}" for alias in node.names}
            modules = {name for name in named if is_module(name)}
            found |= modules if modules == named else modules | {node.module}
    return found


def test_the_modules_were_found():
    assert len(MODULES) > 40
    assert {package_of(path) for path in MODULES} - {"__init__"} == {name.split(".")[0] for name in LAYERS}


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_layer_imports_from_lower_layers_or_its_own_package_alone(path):
    own = package_of(path)
    for name in imports(path):
        parts = name.split(".")
        if parts[0] != "tunix_exp" or len(parts) == 1:
            continue
        other = parts[1]
        if own in ("__init__", other):
            continue
        if (own, other) == ("launch", "run"):  # the one import that waits for the environment
            continue
        theirs, ours = layer(parts[1:]), layer(path.relative_to(ROOT).with_suffix("").parts)
        assert theirs < ours, f"{path.name} (layer {ours}) imports {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_hydra_and_omegaconf_stay_at_the_door(path):
    outer = {name.split(".")[0] for name in imports(path)}
    assert package_of(path) == "cli" or not outer & {"hydra", "omegaconf"}


@pytest.mark.parametrize("module", FAST)
def test_what_must_start_fast_imports_nothing_heavy(module):
    code = f"import sys, {module}; print(*sorted({{m.split('.')[0] for m in sys.modules}} & {HEAVY!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


PROJECT = tomllib.loads((ROOT.parents[1] / "pyproject.toml").read_text())["project"]


@functools.cache
def installed() -> list[tuple[str, set[str]]]:
    """Every module that can be imported, with the distributions it comes from."""
    found = metadata.packages_distributions().items()
    return [(module, {name.lower().replace("_", "-") for name in names}) for module, names in found]


@pytest.mark.parametrize("requirement", PROJECT["dependencies"])
def test_a_declared_dependency_is_imported_by_the_package_or_typed_as_the_readme_says(requirement):
    name = re.split(r"[^A-Za-z0-9._-]", requirement)[0].lower().replace("_", "-")
    modules = {module for module, distributions in installed() if name in distributions}
    assert modules, f"{name} is not installed"
    imported = {imported.split(".")[0] for path in MODULES for imported in imports(path)}
    is_typed = f"\n    {name} --" in (ROOT.parents[1] / "README.md").read_text()
    assert modules & imported or is_typed, f"{name} is declared, and nothing imports or types it"


STAGES = sorted((ROOT / "stages").rglob("*.py"))


@pytest.mark.parametrize("path", STAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_stage_takes_what_others_made_and_calls_none_of_them(path):
    own = path.relative_to(ROOT / "stages").parts[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("tunix_exp.stages."):
            other = node.module.split(".")[2]
            if other not in (own, "once"):  # the latter is below them all
                called = [alias.name for alias in node.names if not alias.name[0].isupper()]
                assert not called, f"{path.name} calls {', '.join(called)} of {node.module}"


def test_the_story_of_an_experiment_and_its_stages_are_short():
    assert len((ROOT / "run.py").read_text().splitlines()) <= 150
    assert max(len(path.read_text().splitlines()) for path in STAGES) <= 250
