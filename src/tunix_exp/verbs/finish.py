"""`python -m tunix_exp finish RUN`: a run that did not complete, gone on with to its end."""

import re
from itertools import count
from pathlib import Path

from tunix_exp.errors import UserError
from tunix_exp.evidence.kinds.composed import OVERRIDES, sweep_of
from tunix_exp.evidence.layout import MANIFEST
from tunix_exp.evidence.manifest import parse_manifest
from tunix_exp.evidence.strict_json import read_text
from tunix_exp.sweep import ledger
from tunix_exp.training.resume import has_work, went_on_from
from tunix_exp.verbs.words import Words


def main(words: list[str]) -> list[str]:
    """The words of the experiment that does what is missing of the run, in a directory beside it."""
    parser = Words("finish", "Do what is missing of a run that did not complete, in a directory beside it.")
    parser.add_argument("run", type=Path, metavar="RUN", help="a run directory")
    named: Path = parser.parse_args(words).run
    _refuse_others(named)
    run = _newest(named)
    own = ("training.stop_at_step=", "training.resume=") if has_work(run) else ("training.stop_at_step=",)
    typed = [word for word in _typed(run) if not word.startswith(own)]
    if len(own) == 2:
        typed.append(f"training.resume={quoted(run)}")
    else:
        print(f"{run} left no checkpoint and no finished stage: everything is done anew")
    again = [*typed, f"hydra.run.dir={quoted(_beside(named))}"]
    print(f"python -m tunix_exp {' '.join(again)}")
    return again


def _refuse_others(run: Path) -> None:
    """Only an experiment that ended early, and has a config, can be finished."""
    try:
        manifest = parse_manifest(read_text(run / MANIFEST, file=str(run / MANIFEST)))
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(
            "there is no run", where=str(run), remedy="name a directory with run_manifest.json in it"
        ) from None
    if manifest.status == "completed":
        raise UserError(
            "nothing is missing: the run is completed",
            where=str(run),
            remedy=f"`python -m tunix_exp verify {run}` checks it again",
        )
    sweep = sweep_of(run)
    if sweep is not None and ledger.has_one(sweep):
        raise UserError(
            "the run is a job of a sweep, which would not have what is done beside it",
            where=str(run),
            remedy=ledger.going_on(sweep),
        )
    if manifest.replay_of is not None:
        raise UserError(
            f"the run is a replay of {manifest.replay_of.run_id}",
            where=str(run),
            remedy="replay that run again: python -m tunix_exp replay RUN",
        )


def _newest(run: Path) -> Path:
    """The newest run with work that went on from this one, or itself; a UserError where one has completed."""
    later = [(_as_typed(place, run), manifest) for place, manifest in went_on_from(run)]
    whole = next((place for place, manifest in later if manifest.status == "completed"), None)
    if whole is not None:
        raise UserError(
            f"nothing is missing: {whole} went on from the run to its end",
            where=str(run),
            remedy=f"`python -m tunix_exp verify {whole}` checks it again",
        )
    newest = next((place for place, _ in later if has_work(place)), None)
    if newest is None:
        return run
    print(f"{newest} went on from {run}, and did not complete: this goes on from there")
    return newest


def _as_typed(place: Path, run: Path) -> Path:
    """The directory beside the run, relative where the run's is."""
    return run.parent / place.name


def _typed(run: Path) -> list[str]:
    """The words that Hydra recorded of the run's own command."""
    import yaml

    file = run / OVERRIDES
    try:
        words = yaml.safe_load(read_text(file, file=str(file)))
    except (OSError, yaml.YAMLError):
        words = None
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise UserError(
            "holds no list of what the command overrode",
            where=str(file),
            remedy="type the run's command again, with training.resume=RUN",
        )
    return words


def _beside(run: Path) -> Path:
    """A directory beside the run that is not there yet."""
    name = f"{run.resolve().name}-finished"
    names = (name if number == 1 else f"{name}-{number}" for number in count(1))
    return next(path for one in names if not (path := run.resolve().parent / one).exists())


def quoted(path: Path) -> str:
    """The path as Hydra's grammar reads it back."""
    text = str(path)
    return text if re.fullmatch(r"[\w./@:+-]+", text) else "'" + text.replace("'", "\\'") + "'"
