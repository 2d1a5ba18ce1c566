"""A notebook is thin: a cell is one command of the program, and the commands fit together."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import nbclient
import nbformat
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
    assert [path.name for path in NOTEBOOKS] == ["kaggle.ipynb", "quickstart.ipynb"]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.name)
def test_no_output_is_kept_and_a_shell_cell_is_one_line_whose_failure_stops_the_notebook(notebook):
    for cell in code_cells(notebook):
        assert (cell["outputs"], cell["execution_count"]) == ([], None)
        source = "".join(cell["source"])
        if source.startswith("%%bash"):
            assert len(source.split("\n")) == 2
            assert not set(source) & set(";|&<>`")
        assert not re.search("^!", source, flags=re.MULTILINE)  # would go on after a failure


def test_every_cell_of_the_quickstart_is_one_command():
    for cell in code_cells(FOLDER / "quickstart.ipynb"):
        source = "".join(cell["source"])
        if source not in OTHERS:
            magic, *lines = source.split("\n")
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


def executed(folder: Path, words: str) -> Any:
    """The Kaggle notebook after all of it ran in a kernel of its own, in `folder`, with these words."""
    notebook = nbformat.read(FOLDER / "kaggle.ipynb", as_version=4)
    for cell in notebook.cells:
        if cell.source.startswith("SOURCE ="):
            cell.source = f"SOURCE, WORDS, RUN = 'tunix_exp', {words!r}, {str(folder / 'run')!r}"
        # what is to be installed is here already
        cell.source = cell.source.replace('-m pip install --quiet "$SOURCE"', '-c "import $SOURCE"')
    client = nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}})
    try:
        client.execute()
    except nbclient.exceptions.CellExecutionError as error:
        return notebook, error
    return notebook, None


@pytest.mark.slow
def test_the_kaggle_notebook_runs_from_its_first_cell_to_its_last_and_shows_the_report(tmp_path):
    notebook, error = executed(tmp_path, " ".join(TOY))
    assert error is None
    assert read_json(tmp_path / "run" / "run_manifest.json")["status"] == "completed"
    assert read_json(tmp_path / "run-smoke" / "run_manifest.json")["mode"] == "smoke"
    shown = [
        kind for cell in notebook.cells for one in cell.get("outputs", ()) for kind in one.get("data", ())
    ]
    assert {"text/markdown", "image/png", "text/html"} <= set(shown)
    assert "run: verified" in notebook.cells[-2].outputs[0].text
    assert str(tmp_path / "run.tar.gz") in notebook.cells[-1].outputs[0].text
    assert (tmp_path / "run.tar.gz").is_file()


@pytest.mark.slow
def test_a_run_that_fails_ends_the_kaggle_notebook_with_its_reason(tmp_path):
    notebook, error = executed(tmp_path, "device=cpu training.stepz=3")
    assert error is not None
    assert "`training.stepz` is not a key" in str(error)
    ran = [cell.source for cell in notebook.cells if cell.cell_type == "code" and cell.execution_count]
    assert "mode=smoke" in ran[-1]
    assert not (tmp_path / "run").exists()
