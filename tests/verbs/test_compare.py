from tests.report.page.run_folder import write_folder
from tunix_exp import cli


def test_runs_from_anywhere_come_on_one_page(tmp_path, monkeypatch):
    runs = [str(write_folder(tmp_path / name)) for name in ("x/a", "y/b")]
    monkeypatch.chdir(tmp_path)
    assert cli.main(["compare", *runs]) == 0
    page = (tmp_path / "compare.html").read_text()
    assert 'data-row="x/a"' in page
    assert 'data-row="y/b"' in page


def test_one_run_has_nothing_to_be_compared_with(tmp_path, capsys):
    run = write_folder(tmp_path / "a")
    assert cli.main(["compare", str(run), str(run)]) == 2
    assert "nothing to compare it with" in capsys.readouterr().err
