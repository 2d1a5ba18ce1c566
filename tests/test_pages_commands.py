"""Every command in the pages on modes and on Kaggle is one that the program takes, and the verbs work."""

import re
import shlex
import shutil
from pathlib import Path

import pytest

from tests.composing import composed
from tests.running import run_toy
from tunix_exp import cli
from tunix_exp.config import validate

DOCS = Path(__file__).parents[1] / "docs"
LINES = [
    line
    for page in ("training-modes.md", "kaggle.md")
    for line in re.findall(r"^    (python -m tunix_exp .*)$", (DOCS / page).read_text(), flags=re.MULTILINE)
]
COMMANDS = [shlex.split(line)[3:] for line in LINES]
VERBS = [words for words in COMMANDS if "=" not in words[0] and words[0] != "-m"]


def test_the_pages_have_commands():
    assert len(COMMANDS) >= 12
    assert [words[0] for words in VERBS] == ["verify", "pack", "verify", "replay"]


@pytest.mark.parametrize("words", [words for words in COMMANDS if words not in VERBS], ids=" ".join)
def test_a_run_s_words_compose_to_a_valid_config(words):
    first = [word.split(",")[0] for word in words if word != "-m"]  # of a sweep its first job
    validate(composed(*first))


def test_the_verbs_follow_one_another_in_their_order(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run_toy(Path("outputs/kaggle")) == 0
    for words in VERBS:
        if words[-1].endswith(".tar.gz") and words[0] == "verify":
            shutil.rmtree("outputs/kaggle")  # on another machine there is the archive alone
        assert cli.main(words) == 0, words
    assert "identical: the replay has the numbers" in capsys.readouterr().out
