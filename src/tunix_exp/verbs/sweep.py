"""`python -m tunix_exp sweep resume DIR`: what is missing of a sweep is run; `show`: how its jobs stand."""

from pathlib import Path

from tunix_exp.exits import COMPLETED
from tunix_exp.numbers import counted
from tunix_exp.sweep import ledger
from tunix_exp.sweep.state import Standing, standings
from tunix_exp.verbs.finish import quoted
from tunix_exp.verbs.words import Words


def main(words: list[str]) -> int | list[str]:
    """The words of the sweep that goes on in its directory; completed, once it is told how its jobs stand."""
    parser = Words("sweep", "Go on with a sweep, or say how its jobs stand.")
    parser.add_argument("what", choices=("resume", "show"))
    parser.add_argument("sweep", type=Path, metavar="DIR", help="a sweep's directory, with sweep.json in it")
    asked = parser.parse_args(words)
    begun, jobs = ledger.read(asked.sweep), standings(asked.sweep)
    for one in jobs:
        if asked.what == "show" or one.holder is not None:
            print(told(one))
    if asked.what == "show":
        to_come = max(0, ledger.asked_for(asked.sweep) - len(jobs))
        print(f"{sum(one.job.is_completed for one in jobs)} of {len(jobs) + to_come} jobs completed", end="")
        print(f"; {counted(to_come, 'job')} of the study not chosen yet" * (to_come > 0))
        return COMPLETED
    return [*begun.arguments, f"hydra.sweep.dir={quoted(asked.sweep)}", "hydra.sweeper.resume=true"]


def told(one: Standing) -> str:
    """How the job stands, in a line."""
    text = f"job {one.planned.number}: {one.job.status}, {' '.join(one.planned.words)}"
    if one.holder is not None and not one.job.is_completed:
        text += f" (held by {one.holder.describe()})"
    return text
