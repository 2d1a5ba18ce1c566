"""No message falls back into words that a reader of this field would have to guess at."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FORBIDDEN = re.compile(
    r"last words|testimony|take turns|at hand|contradict each other|tampered with|does not hold here|"
    r"it holds on|programs of earlier jobs|claims an|four times in five|became right|tokens are real|"
    r"at best in|Whose questions",
    re.IGNORECASE,
)
MODULES = sorted((ROOT / "src").rglob("*.py"))
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "src").rglob("*.html"))]


def messages(path):
    """The texts of a module that are no docstrings, with their lines."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docs = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    return [
        (node.lineno, node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs
    ]


def test_there_are_modules_and_pages():
    assert len(MODULES) > 100
    assert len(PAGES) > 8


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT / "src")))
def test_messages_use_the_terms_of_the_field(path):
    found = [(line, match[0]) for line, text in messages(path) if (match := FORBIDDEN.search(text))]
    assert found == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_pages_use_them_too(path):
    assert FORBIDDEN.findall(path.read_text(encoding="utf-8")) == []
