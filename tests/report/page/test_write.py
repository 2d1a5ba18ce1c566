import pytest

from tests.report.page.run_folder import write_folder
from tunix_exp.errors import UserError
from tunix_exp.evidence.verify import runs_at
from tunix_exp.report.page.run import run_page
from tunix_exp.report.page.write import write_page


def test_runs_come_in_order_of_their_numbers(tmp_path):
    for job in (10, 9, 1):
        write_folder(tmp_path / str(job))
    assert [run.name for run in runs_at(tmp_path)] == ["1", "9", "10"]
    assert runs_at(tmp_path / "9") == [tmp_path / "9"]


def test_a_path_without_runs_is_refused(tmp_path):
    with pytest.raises(UserError, match="no run directory at or below"):
        runs_at(tmp_path / "nowhere")


def test_a_page_of_one_run_and_one_of_several(tmp_path, capsys):
    runs = [write_folder(tmp_path / name) for name in ("a", "b")]
    write_page(runs[:1], tmp_path / "one.html", title=None)
    assert (tmp_path / "one.html").read_text() == run_page(runs[0])
    write_page(runs, tmp_path / "two.html", title="both")
    assert "<h1>both</h1>" in (tmp_path / "two.html").read_text()
    assert "two.html: 0.4 MB, 2 runs" in capsys.readouterr().out


def test_no_page_is_written_into_a_run_directory(tmp_path):
    run = write_folder(tmp_path / "a")
    with pytest.raises(UserError, match="verify would say so"):
        write_page([run], run / "more" / "page.html", title=None)


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    run = write_folder(tmp_path / "a")
    with pytest.raises(UserError, match="cannot be written"):
        write_page([run], tmp_path / "missing" / "page.html", title=None)
