"""`python -m tunix_exp report PATH…`: a page for each run, and one for each sweep, that works off line."""

from pathlib import Path

from tunix_exp.errors import UserError
from tunix_exp.evidence.kinds.pages import REPORT
from tunix_exp.evidence.layout import MANIFEST
from tunix_exp.evidence.verify import runs_at
from tunix_exp.exits import COMPLETED
from tunix_exp.report.page.write import write_page
from tunix_exp.report.sweep_files import summary_of
from tunix_exp.verbs.words import Words


def main(words: list[str]) -> int:
    """Completed when every page is written: a run's beside its directory, a sweep's into it."""
    parser = Words("report", "Draw a page for each run, and one for each sweep.")
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="a run, or a directory of runs")
    parser.add_argument("--to", type=Path, metavar="FILE", help="where to write the page of a single PATH")
    asked = parser.parse_args(words)
    if asked.to is not None and len(asked.paths) > 1:
        raise UserError(
            f"--to names one file, but there are {len(asked.paths)} paths",
            where="the command line",
            remedy="leave --to out, or use `compare` for one page of several runs",
        )
    for path in asked.paths:
        runs = runs_at(path)
        is_run = (path / MANIFEST).is_file()
        default = path.resolve().with_name(f"{path.resolve().name}.html") if is_run else path / REPORT.path
        title = None if is_run else "/".join(path.resolve().parts[-2:])
        summary = None if is_run else summary_of(path)
        write_page(runs, default if asked.to is None else asked.to, title=title, summary=summary)
    return COMPLETED
