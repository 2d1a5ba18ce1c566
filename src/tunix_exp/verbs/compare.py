"""`python -m tunix_exp compare PATH PATH…`: several runs on one page, best first."""

from pathlib import Path

from tunix_exp.errors import UserError
from tunix_exp.evidence.verify import runs_at
from tunix_exp.exits import COMPLETED
from tunix_exp.report.compared import compared
from tunix_exp.report.page.write import write_page
from tunix_exp.report.sweep import arms_table, notes, verdict
from tunix_exp.report.table import as_text
from tunix_exp.sweep.config import METRICS, SweepConfig
from tunix_exp.verbs.words import Words


def main(words: list[str]) -> int:
    """Completed when the page is written, by default to `compare.html` where the command was typed.

    Runs that differ in their seed alone are an arm; where there is one of several runs, arms are compared.
    """
    parser = Words("compare", "Draw several runs on one page, best first.")
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="a run, or a directory of runs")
    parser.add_argument(
        "--metric",
        choices=METRICS,
        default="primary_score",
        help="what arms are compared by",
    )
    parser.add_argument("--to", type=Path, metavar="FILE", default=Path("compare.html"))
    asked = parser.parse_args(words)
    runs = list(dict.fromkeys(run.resolve() for path in asked.paths for run in runs_at(path)))
    if len(runs) < 2:
        raise UserError(
            "there is one run, and nothing to compare it with",
            where="the command line",
            remedy="name two runs or more, or a sweep; `report` makes the page of one run",
        )
    summary = compared(runs, SweepConfig(metric=asked.metric, goal=None))
    if summary is not None:
        print(as_text(arms_table(summary), [*notes(summary), verdict(summary)]))
    write_page(runs, asked.to, title=f"{len(runs)} runs compared", summary=summary)
    return COMPLETED
