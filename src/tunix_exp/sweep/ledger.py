"""`sweep.json`: what a sweep was begun with, and which jobs it has, so that what is missing can be run.

It says what never changes. How each job stands follows from its claim (`claims`) and its run's manifest.
"""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from tunix_exp.errors import UserError
from tunix_exp.evidence.claimed import replace
from tunix_exp.evidence.kinds.config import flatten
from tunix_exp.evidence.manifest import config_hash
from tunix_exp.evidence.sections import Code, Sha256
from tunix_exp.evidence.strict_json import json_text, read_text
from tunix_exp.schema import Config, written

FILE, LOCK = "sweep.json", "sweep.lock"
# As Hydra composed it, the sweeper's settings among it.
CONFIG = "multirun.yaml"
_MOST_TOLD = 20

Plain = dict[str, Any]


class PlannedJob(Config):
    """A job: its number, the words that are its own, its directory, and the hash of its config.

    The hash is null where the config could not be made whole, and the job fails alone. `differs` and `lacks`
    are of the config of the ledger.
    """

    number: int
    words: tuple[str, ...]
    directory: str
    config_hash: Sha256 | None
    differs: dict[str, Any]
    lacks: tuple[str, ...]


class Ledger(Config):
    """A sweep: the command's words, the sweeper, the code, a config, and the jobs as they differ from it."""

    schema_version: Literal[1]
    arguments: tuple[str, ...]
    sweeper: str
    code: Code
    config: dict[str, Any]
    jobs: tuple[PlannedJob, ...]

    def planned(self, number: int, words: Sequence[str], directory: str, config: Plain | None) -> PlannedJob:
        """The job of these words, whose own config is `config`."""
        flat = {} if config is None else flatten(config)
        known = self.config
        differs = {key: flat[key] for key in flat if key not in known or known[key] != flat[key]}
        return PlannedJob(
            number=number,
            words=tuple(words),
            directory=directory,
            config_hash=None if config is None else config_hash(config),
            differs=differs,
            lacks=() if config is None else tuple(key for key in self.config if key not in flat),
        )

    def config_of(self, job: PlannedJob) -> Plain:
        """The job's config by its dotted keys."""
        kept = {key: value for key, value in self.config.items() if key not in job.lacks}
        return kept | job.differs if job.config_hash is not None else {}


def begun(arguments: Sequence[str], sweeper: str, code: Code, config: Plain) -> Ledger:
    """A ledger without jobs."""
    return Ledger(
        schema_version=1,
        arguments=tuple(arguments),
        sweeper=sweeper,
        code=code,
        config=flatten(config),
        jobs=(),
    )


def write(root: Path, ledger: Ledger) -> None:
    """`sweep.json` is the ledger, whole, whenever it is read."""
    replace(root / FILE, json_text(ledger.model_dump(mode="json"), file=FILE).encode("utf-8"))


def read(root: Path) -> Ledger:
    """The ledger of the sweep in `root`; a UserError where there is none."""
    try:
        return Ledger.model_validate_json(read_text(root / FILE, file=FILE))
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(
            f"there is no {FILE}: no sweep had begun here",
            where=str(root),
            remedy="name a sweep's directory, such as multirun/NAME/DATE, or type the sweep's command again",
        ) from None
    except ValidationError as error:
        told = error.errors()[:_MOST_TOLD]
        faults = "; ".join(f"`{'.'.join(map(str, one['loc']))}`: {one['msg']}" for one in told if one["loc"])
        faults = faults or told[0]["msg"]  # what is no JSON has no keys
        raise UserError(
            f"{FILE} is damaged: {faults}", where=str(root), remedy="type the sweep's command again elsewhere"
        ) from None


def going_on(root: Path) -> str:
    """The command that goes on with the sweep in `root`."""
    return shlex.join(["python", "-m", "tunix_exp", "sweep", "resume", str(root)])


def asked_for(root: Path) -> int:
    """How many jobs the study in `root` is to have; 0 of a grid, whose ledger has them all."""
    import yaml

    try:
        says = yaml.safe_load(read_text(root / CONFIG, file=CONFIG))
        asked = says["hydra"]["sweeper"]["n_trials"]
    except (OSError, yaml.YAMLError, UserError, KeyError, TypeError):
        return 0
    return asked if type(asked) is int else 0


def has_one(root: Path) -> bool:
    """Whether a sweep had begun in `root`."""
    return (root / FILE).is_file()


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """Inside, nobody else writes the ledger of the sweep in `root`."""
    import fcntl

    with (root / LOCK).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def refuse_changed(before: Ledger, now: Ledger) -> None:
    """Raise UserError, key by key, where jobs are not what they were, or the code is not."""
    told = [
        f"  code.{key}: {written(old)} → {written(new)}"
        for (key, old), new in zip(before.code, dict(now.code).values(), strict=True)
        if old != new
    ]
    after = {job.number: job for job in now.jobs}
    for job in before.jobs:
        other = after.get(job.number)
        if other is None or other.words != job.words:
            told.append(f"  job {job.number}: its words are {' '.join(other.words) if other else 'none'} now")
        elif other.config_hash != job.config_hash:
            pairs = _changes(before.config_of(job), now.config_of(other))
            told += [f"  job {job.number}: {line}" for line in pairs]
    if told:
        more = [f"  and {len(told) - _MOST_TOLD} more"] if len(told) > _MOST_TOLD else []
        raise UserError(
            "the sweep would go on with something else than it began with:\n"
            + "\n".join([*told[:_MOST_TOLD], *more]),
            where=FILE,
            remedy="give back what it had (the commit, the files in conf/), or begin a new sweep",
        )


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    for key in dict.fromkeys((*old, *new)):
        before = written(old[key]) if key in old else "(absent)"
        after = written(new[key]) if key in new else "(absent)"
        if before != after:
            yield f"{key}: {before} → {after}"
