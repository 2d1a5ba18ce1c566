import pytest

from tests.report.page.run_folder import write_folder
from tunix_exp import cli


@pytest.fixture
def sweep(tmp_path):
    for name in ("0", "1"):
        write_folder(tmp_path / "sweep" / name)
    return tmp_path / "sweep"


def test_a_run_s_page_lies_beside_its_directory(sweep):
    assert cli.main(["report", str(sweep / "0"), str(sweep / "1")]) == 0
    assert sorted(path.name for path in sweep.iterdir()) == ["0", "0.html", "1", "1.html"]


def test_a_sweep_s_page_lies_in_its_directory(sweep):
    assert cli.main(["report", str(sweep)]) == 0
    assert "of 2 runs completed" in (sweep / "report.html").read_text()


def test_a_page_goes_where_it_is_asked_to(sweep, tmp_path):
    assert cli.main(["report", str(sweep / "0"), "--to", str(tmp_path / "page.html")]) == 0
    assert (tmp_path / "page.html").stat().st_size > 100_000
    assert cli.main(["report", str(sweep), str(sweep / "0"), "--to", "page.html"]) == 2
