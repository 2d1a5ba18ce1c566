import ast
from pathlib import Path

import pytest
from rich.table import Table

import tunix_exp
from tests.report.run_files import MANIFEST, summary, write_run
from tunix_exp.evidence.console import plain_console, table_text
from tunix_exp.report.markdown import named, table, verbatim
from tunix_exp.report.readme import readme
from tunix_exp.report.result import table as table_of
from tunix_exp.report.table import as_text

ODD = "algebra [/b] [red]x[/red] :smile: a|b $c$ `d` <i>e</i> *f*"


def test_a_name_of_words_stands_as_it_is_and_any_other_is_code():
    assert named("nano-gpt2 on x_y, 3/4") == "nano-gpt2 on x_y, 3/4"
    assert named("x[easy]") == "`x[easy]`"
    assert named("_x_") == "`_x_`"
    assert named(":smile:") == "`:smile:`"
    assert named("") == "`   `"


@pytest.mark.parametrize(
    ("text", "code"), [("a`b", "``a`b``"), ("`a`", "`` `a` ``"), ("a\nb", "`a⏎b`"), (" a", "`  a `")]
)
def test_code_is_bounded_by_more_ticks_than_it_holds_and_stays_on_its_line(text, code):
    assert verbatim(text) == code


def test_a_bar_or_a_line_end_in_a_cell_breaks_no_table():
    assert table(["x"], [["a|b"], ["c\nd"]]).splitlines() == ["| x |", "| --- |", "| a\\|b |", "| c<br>d |"]


def odd_summary():
    changed = summary()
    for part in (changed["base"]["scorecard"], changed["trained"]["scorecard"], changed["comparison"]):
        part["per_category"] = {ODD: next(iter(part["per_category"].values()))}
    return changed


def test_a_category_is_printed_as_it_is_in_the_table_of_the_console():
    shown = as_text(table_of(odd_summary())).splitlines()
    # the name is folded over several lines of the first column
    first = "".join(line[: shown[1].index("items")] for line in shown).replace(" ", "")
    assert ODD.replace(" ", "") in first


def test_what_stands_below_a_table_is_printed_as_it_is():
    shown = Table(title=ODD, caption=ODD)
    shown.add_column(ODD, no_wrap=True)
    shown.add_row(ODD)
    assert table_text(shown).count(ODD) == 4


def test_a_run_s_page_has_names_as_code(tmp_path):
    odd = MANIFEST | {"run_id": ODD, "data": MANIFEST["data"] | {"name": ODD, "source": f"./{ODD}.jsonl"}}
    write_run(tmp_path, losses=[1.0], manifest=odd)
    page = readme(tmp_path)
    assert f"`` {ODD} ``".replace("|", "\\|") in page or f"``{ODD}``".replace("|", "\\|") in page
    assert f"./{ODD}.jsonl".replace("|", "\\|") in page


def test_only_one_module_makes_a_console_and_none_takes_markup():
    made, markup = [], []
    for path in Path(tunix_exp.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
                made += [path.name] if name == "Console" else []
                markup += [path.name] if name in ("from_markup", "render_markup") else []
                flags = [k.value for k in node.keywords if k.arg in ("markup", "emoji")]
                markup += [path.name for value in flags if getattr(value, "value", None) is not False]
            if isinstance(node, ast.ImportFrom) and node.module == "rich":
                markup += [path.name]  # its own print takes markup
    assert made == ["console.py"]
    assert markup == []


def test_a_console_takes_neither_markup_nor_emoji(capsys):
    plain_console().print(ODD, soft_wrap=True)
    assert capsys.readouterr().out == f"{ODD}\n"
