"""A notebook is thin: a cell is one command of the program, and the commands fit together."""

import json
import shlex
from pathlib import Path

import pytest

from tests.running import TOY, read_json
from tunix_exp import cli

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
PROGRAM = ["python", "-m", "tunix_exp"]
# What is not the program's own: its installation, and the curves.
OTHERS = (
    "%%bash\npython -m pip install --quiet ..",
    "%load_ext tensorboard\n%tensorboard --logdir ../outputs",
)


def code_cells(notebook: Path) -> list[dict]:
    return [cell for cell in json.loads(notebook.read_text())["cells"] if cell["cell_type"] == "code"]


def commands(notebook: Path) -> list[list[str]]:
    """The words behind `python -m tunix_exp` of each cell that runs the program."""
    sources = ["".join(cell["source"]) for cell in code_cells(notebook)]
    return [shlex.split(source.split("\n")[1])[3:] for source in sources if source not in OTHERS]


def test_there_is_a_notebook():
    assert [path.name for path in NOTEBOOKS] == ["quickstart.ipynb"]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.name)
def test_every_cell_is_one_command_that_stops_the_notebook_when_it_fails_and_no_output_is_kept(notebook):
    for cell in code_cells(notebook):
        assert (cell["outputs"], cell["execution_count"]) == ([], None)
        source = "".join(cell["source"])
        if source not in OTHERS:
            magic, *lines = source.split("\n")
            # a line that begins with ! would go on after a failure
            assert magic == "%%bash"
            assert len(lines) == 1
            assert shlex.split(lines[0])[:3] == PROGRAM
            assert not set(lines[0]) & set(";|&<>$`")


def test_the_quickstart_runs_from_its_first_cell_to_its_last(tmp_path, monkeypatch):
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    ran = []
    for words in commands(FOLDER / "quickstart.ipynb"):
        if "=" in words[0]:
            words = [*words, *TOY]
        if words[0] == "replay":
            words = ["2" if word == "20" else word for word in words]
        if words[0] != "doctor":
            assert cli.main(words) == 0, words
        ran.append(words[0])
    assert ran == ["doctor", "hydra.run.dir=../outputs/quickstart", "verify", "replay", "pack"]
    assert read_json(tmp_path / "outputs/quickstart-replay/replay.json")["is_identical"] is True
    assert (tmp_path / "outputs/quickstart.tar.gz").exists()
    assert list((tmp_path / "notebooks").iterdir()) == []
