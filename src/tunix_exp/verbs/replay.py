"""`python -m tunix_exp replay RUN [--steps N] [--to DIR] [data.source=PATH …]`: the run again, compared."""

from pathlib import Path

from tunix_exp.errors import UserError
from tunix_exp.replay.again import replay
from tunix_exp.replay.inputs import PLACES
from tunix_exp.verbs.words import Words


def main(words: list[str]) -> int:
    """Completed when the replay has the run's numbers to the bit; a status of its own when it has others."""
    parser = Words("replay", "Run an experiment again from its evidence alone, and compare every number.")
    parser.add_argument("run", type=Path, metavar="RUN", help="a run directory")
    parser.add_argument("--steps", type=int, metavar="N", help="stop after step N, and compare up to there")
    parser.add_argument("--to", type=Path, metavar="DIR", help="where the replay goes; else below outputs/")
    parser.add_argument(
        "places", nargs="*", metavar="KEY=PATH", help=f"where an input lies now: {', '.join(PLACES)}"
    )
    parser.add_argument("--allow-flags", action="store_true", help="XLA flags that may write or read")
    parser.add_argument("--allow-paths", action="store_true", help="places that the run names itself")
    said = parser.parse_intermixed_args(words)
    return replay(
        said.run,
        to=said.to,
        steps=said.steps,
        allow_flags=said.allow_flags,
        allow_paths=said.allow_paths,
        places=dict(_place(word) for word in said.places),
        command=["python", "-m", "tunix_exp", "replay", *words],
    )


def _place(word: str) -> tuple[str, str]:
    key, sign, path = word.partition("=")
    if not sign or not path:
        raise UserError(
            f"`{word}` is not KEY=PATH", where="replay", remedy=f"the keys are {', '.join(PLACES)}"
        )
    return key, path
