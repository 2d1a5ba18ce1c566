"""The files that a sweep ends in, written anew after each of its jobs: figures, tables, and the page."""

import time
from pathlib import Path

from tunix_exp.evidence.claimed import replace
from tunix_exp.evidence.kinds.pages import REPORT
from tunix_exp.evidence.strict_json import json_text, read_json_object
from tunix_exp.report import sweep as text
from tunix_exp.report.page.write import write_page
from tunix_exp.sweep.config import SweepConfig
from tunix_exp.sweep.state import found_jobs
from tunix_exp.sweep.summary import summarized

SUMMARY, TABLE, PAGE = "summary.json", "summary.csv", "summary.md"
# The page is drawn again after a job while all drawing takes no more of the sweep's time than this.
_SHARE_OF_DRAWING = 0.05


def summary_of(root: Path) -> text.Summary | None:
    """The summary that the sweep in `root` wrote after its last job; None where none ended there."""
    file = root / SUMMARY
    return read_json_object(file, file=SUMMARY) if file.is_file() else None


class SweepFiles:
    """The files of the sweep in `root`, and how long the page has taken to draw."""

    def __init__(self, root: Path, config: SweepConfig) -> None:
        self._root, self._config = root.resolve(), config
        self._began, self._drawing_s = time.monotonic(), 0.0

    def write(self, *, is_last: bool) -> text.Summary:
        """The summary as the jobs stand, in its three forms, and the page; after the last job always."""
        jobs = found_jobs(self._root, is_over=is_last)
        summary, title = summarized(jobs, self._config), "/".join(self._root.parts[-2:])
        forms = {
            SUMMARY: json_text(summary, file=SUMMARY),
            TABLE: text.table_csv(summary),
            PAGE: text.markdown(summary, title),
        }
        for name, content in forms.items():
            replace(self._root / name, content.encode("utf-8"))
        runs = [self._root / job.directory for job in jobs if job.directory is not None]
        began = time.monotonic()
        is_cheap = self._drawing_s <= _SHARE_OF_DRAWING * (began - self._began)
        if runs and (is_last or is_cheap):
            write_page(runs, self._root / REPORT.path, title=title, summary=summary, quietly=not is_last)
            self._drawing_s += time.monotonic() - began
        return summary
