"""A family is one folder: all its parts are there, and nothing outside knows it by name."""

import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from tests.composing import composed, options
from tunix_exp.config import classes, validate
from tunix_exp.models.families import registry
from tunix_exp.models.families.registry import families, family_of

PACKAGE = Path(registry.__file__).parents[2]
FOLDER = Path(registry.__file__).parent
PARTS = ("__init__.py", "config.py", "module.py", "names.py", "plan.py", "README.md")

every_family = pytest.mark.parametrize("family", families(), ids=registry.FOLDERS)


def names_of(family) -> tuple[str, ...]:
    return get_args(family.config.model_fields["family"].annotation)


def test_every_folder_is_registered():
    folders = {path.name for path in FOLDER.iterdir() if (path / "__init__.py").is_file()}
    assert folders == set(registry.FOLDERS)


@every_family
def test_a_family_has_all_its_parts_in_its_folder(family):
    folder = FOLDER / family.package.rpartition(".")[2]
    there = {path.name for path in folder.iterdir()}
    assert set(PARTS) <= there
    assert ("chat.py" in there) == (family.chat is not None)
    assert family.weight_maps.keys() == set(names_of(family))
    assert set(classes(registry.AnyModelConfig)) == {one.config for one in families()}


@pytest.mark.parametrize("option", options("model"))
def test_every_model_option_is_of_a_family_whose_plan_knows_its_sizes(option):
    model = validate(composed(f"model={option}", "device=cpu")).model
    dims = family_of(model).dimensions(model)
    assert dims.heads == model.num_heads
    assert family_of(model).cache_bytes(model, 2, 4) > family_of(model).cache_bytes(model, 1, 4) > 0


@every_family
def test_a_family_s_parts_but_its_module_import_no_jax(family):
    code = f"import sys, {family.package}; print({{'jax', 'flax'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_no_module_outside_a_family_s_folder_names_it():
    names = {
        folder: {folder, *names_of(one)} for folder, one in zip(registry.FOLDERS, families(), strict=True)
    }
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        text, own = path.read_text(), path.relative_to(FOLDER).parts[0] if FOLDER in path.parents else None
        if path == Path(registry.__file__):  # but for its one line
            text = re.sub(r"^FOLDERS = \(.*\)$", "", text, flags=re.MULTILINE)
        for name in names.get(own, ()):  # of its own name another's may be a part
            text = re.sub(name.replace("_", "_?"), "", text, flags=re.IGNORECASE)
        others = set().union(*(known for folder, known in names.items() if folder != own))
        found += [f"{path}: {name}" for name in others if re.search(name, text, re.IGNORECASE)]
    assert found == []
