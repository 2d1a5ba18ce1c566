"""A job of a sweep that has ended: the sweep's files are written anew, and its sweeper is told a figure."""

import math
from pathlib import Path

from tunix_exp.report.sweep_files import SweepFiles
from tunix_exp.sweep import claims, ledger
from tunix_exp.sweep.config import SweepConfig
from tunix_exp.sweep.job import read_job
from tunix_exp.sweep.summary import objective

_FILES: dict[tuple[Path, str], SweepFiles] = {}


def files_of(root: Path, config: SweepConfig) -> SweepFiles:
    """The files of the sweep in `root`: the same ones for all jobs of a process."""
    key = root.resolve(), config.model_dump_json()
    if key not in _FILES:
        _FILES[key] = SweepFiles(root, config)
    return _FILES[key]


def hold(root: Path, directory: str) -> None:
    """The job of the sweep in `root` that lies in `directory` is held by this process, which runs it."""
    if ledger.has_one(root):
        number = next((one.number for one in ledger.read(root).jobs if one.directory == directory), None)
        if number is not None:
            claims.hold(root, number)


def objective_of(directory: Path, config: SweepConfig) -> float:
    """What a sweeper optimizes: the metric of the run in `directory`, nan where it has none."""
    found = objective(read_job(0, {}, directory.parent, directory.name), config)
    return math.nan if found is None else found
