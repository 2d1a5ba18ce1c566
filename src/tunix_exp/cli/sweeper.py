"""The sweeper of grids, and what all have: a ledger, claims before Hydra makes a directory, what is due.

So several processes may work on one sweep, and one that was killed is gone on with.
"""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from tunix_exp.cli import launchers
from tunix_exp.cli.composing import applicable, resolved
from tunix_exp.cli.launchers import Environment
from tunix_exp.errors import UserError
from tunix_exp.evidence import checkout
from tunix_exp.evidence.layout import MANIFEST
from tunix_exp.evidence.verify import inspect
from tunix_exp.sweep import claims, ledger
from tunix_exp.sweep.config import GridConfig, sweeper_config
from tunix_exp.sweep.job import EARLIER
from tunix_exp.sweep.ledger import Ledger, PlannedJob
from tunix_exp.sweep.state import Standing, earlier, standings
from tunix_exp.training.resume import has_work
from tunix_exp.verbs.finish import quoted

Words = Sequence[str]

_POLL_S = 0.5
# How a sweep goes on is none of what it was begun with.
_OF_GOING_ON = ("hydra.sweep.dir=", "hydra.sweeper.resume=")


class Jobs:
    """The jobs of one sweep, and the launcher that runs them."""

    def __init__(
        self,
        context: HydraContext,
        task: TaskFunction,
        config: DictConfig,
        settings: GridConfig,
    ) -> None:
        self._loader, self._config = context.config_loader, config
        self._launcher = launchers.instantiated(context, task, config)
        self._root = Path(config.hydra.sweep.dir)
        self._resumes = settings.resume
        self._is_alone = launchers.is_in_process(self._launcher)
        # one process runs one job after another: it takes no more than that from other workers
        self._at_once = 1 if self._is_alone else settings.max_batch_size
        self._keeps_processes = not self._is_alone and launchers.is_joblib(self._launcher)
        self._environments: dict[int, Environment | None] = {}
        self._served: Environment | None = None

    def _planned(self, every: Sequence[Words], sweeper: str) -> Ledger:
        """The ledger of all jobs: each is composed before the first is run."""
        composed = [self._composed(number, words) for number, words in enumerate(every)]
        if self._is_alone:
            names = [(f"job {number}", wanted) for number, wanted in sorted(self._environments.items())]
            launchers.refuse_several_environments(names)
        whole = [config for _, config in composed if config is not None]
        code = checkout.source_code(Path(__file__).resolve().parents[1]).record
        begun = ledger.begun(begun_with(), sweeper, code, whole[0] if whole else {})
        jobs = [
            begun.planned(number, words, directory, config)
            for number, (words, (directory, config)) in enumerate(zip(every, composed, strict=True))
        ]
        refuse_shared_directories(jobs)
        return begun.model_copy(update={"jobs": tuple(jobs)})

    def _composed(self, number: int, words: Words) -> tuple[str, dict[str, Any] | None]:
        """The job's directory and its config; none where its model's folder cannot give it."""
        config = self._loader.load_sweep_config(self._config, list(words))
        with open_dict(config):
            config.hydra.job.id = config.hydra.job.num = number
        try:
            plain = resolved(applicable(config)[0])
        except UserError:
            plain = None  # the job fails alone, and says why
        self._environments[number] = launchers.environment_of(plain)
        return str(config.hydra.sweep.subdir), plain

    def _claimed(self, due: Sequence[Standing]) -> tuple[list[Standing], list[Standing]]:
        """The next jobs to run, which no other process has taken meanwhile, and the rest.

        Processes that serve one job after another get jobs of one device config.
        """
        batch, rest, served = [], [], None
        for one in due:
            wanted = self._wanted(one) if self._keeps_processes else None
            has_place = self._at_once is None or len(batch) < self._at_once
            if not has_place or not (served is None or wanted is None or served == wanted):
                rest.append(one)
            elif claims.take(self._root, one.planned.number, one.attempts + 1):
                batch.append(one)
                served = wanted if served is None else served
        return batch, rest

    def _wanted(self, one: Standing) -> Environment | None:
        """What the job wants of its process."""
        if one.planned.number not in self._environments:
            self._composed(one.planned.number, one.planned.words)
        return self._environments[one.planned.number]

    def _launched(self, batch: Sequence[Standing]) -> list[Any]:
        """What the jobs returned: nothing where the launcher lost a process, or could begin none."""
        if self._keeps_processes:
            wanted = next((found for found in map(self._wanted, batch) if found is not None), self._served)
            if self._served not in (None, wanted):
                launchers.end_kept()
            self._served = wanted
        words = [self._words(one) for one in batch]
        try:
            results = self._launcher.launch(words, initial_job_idx=batch[0].planned.number)
        except Exception as error:
            if self._is_alone:
                raise
            print(f"the launcher stopped: {type(error).__name__}: {error}", file=sys.stderr)
            self._wait_for(batch)
            return []
        return [result.return_value for result in results]

    @contextmanager
    def _gone_on_with(self) -> Iterator[None]:
        """Inside, what stops the sweep between two jobs says how it is gone on with."""
        try:
            yield
        except KeyboardInterrupt as stop:
            stop.add_note(f"to go on: {ledger.going_on(self._root)}")
            raise

    def _wait_for(self, batch: Sequence[Standing]) -> None:
        """No job of the batch is under way on this machine any more."""
        numbers = {one.planned.number for one in batch}
        while any(
            one.job.status == "running" and one.holder is not None and not one.holder.is_elsewhere
            for one in standings(self._root, is_over=True)
            if one.planned.number in numbers
        ):
            time.sleep(_POLL_S)

    def _words(self, one: Standing) -> list[str]:
        """The words of the job's command: to go on from what an earlier attempt left, or to begin."""
        number, words = one.planned.number, [*one.planned.words]
        place = self._root / one.planned.directory
        if place.exists():
            aside = self._root / EARLIER / f"{number}.{one.attempts}"
            aside.parent.mkdir(exist_ok=True)
            place.rename(aside)
        left = next((path for path in earlier(self._root, number) if is_run(path) and has_work(path)), None)
        if one.attempts and left is not None:
            words = [
                word for word in words if not word.startswith(("training.stop_at_step=", "training.resume="))
            ]
            words.append(f"training.resume={quoted(left.resolve())}")
        return [*words, f"hydra.sweep.subdir={quoted(Path(one.planned.directory))}"]


class Grid(Jobs):
    """Every combination of the values that were typed: all are composed before the first is run."""

    def __init__(
        self,
        context: HydraContext,
        task: TaskFunction,
        config: DictConfig,
        settings: Mapping[str, Any],
    ) -> None:
        super().__init__(context, task, config, sweeper_config(GridConfig, settings))

    def sweep(self, arguments: Words) -> list[Any]:
        """What each job that was due returned; jobs that another process runs are left to it."""
        before = ledger.read(self._root) if self._resumes else None
        every = self._every(arguments) if before is None else [job.words for job in before.jobs]
        if not every:
            raise UserError(
                "the sweep has no jobs: one of its ranges or globs is empty",
                where="the command line",
                remedy="range(0,3) is 0, 1 and 2; a range that falls has a step below zero, range(3,0,-1)",
            )
        planned = self._planned(every, "grid")
        self._root.mkdir(parents=True, exist_ok=True)
        if before is not None:
            ledger.refuse_changed(before, planned)
            refuse_unverified(self._root, before)
        else:
            OmegaConf.save(self._config, self._root / ledger.CONFIG)
            ledger.write(self._root, planned)
        due = [one for one in standings(self._root, planned) if one.is_due]
        returned: list[Any] = []
        with self._gone_on_with():
            while due:
                batch, due = self._claimed(due)
                if batch:
                    returned += self._launched(batch)
        return returned

    def _every(self, arguments: Words) -> Sequence[Words]:
        """The words of each job, which a shuffled sweep has in another order each time."""
        parser = OverridesParser.create(config_loader=self._loader)
        (every,) = BasicSweeper.split_arguments(parser.parse_overrides(list(arguments)), None)
        return every


def is_run(place: Path) -> bool:
    """Whether a run had begun in the directory."""
    return (place / MANIFEST).is_file()


def begun_with() -> list[str]:
    """The words that the sweep was begun with."""
    return [word for word in sys.argv[1:] if not word.startswith(_OF_GOING_ON)]


def refuse_shared_directories(jobs: Sequence[PlannedJob]) -> None:
    """Raise UserError where two jobs would have one directory."""
    seen: dict[str, int] = {}
    for job in jobs:
        if job.directory in seen:
            raise UserError(
                f"jobs {seen[job.directory]} and {job.number} would both lie in {job.directory}",
                where="hydra.sweep.subdir",
                remedy="leave it at ${hydra.job.num}, or name what differs between the jobs",
            )
        seen[job.directory] = job.number


def refuse_unverified(root: Path, known: Ledger) -> None:
    """Raise UserError where a completed job's files are no longer what the run left."""
    told = [
        f"  job {one.planned.number}: {found.file}: {found.what}"
        for one in standings(root, known)
        if one.job.is_completed
        for found in inspect(root / one.planned.directory).disagreements
    ]
    if told:
        raise UserError(
            "completed jobs are not verified\n" + "\n".join(told),
            where=str(root),
            remedy="take them from where they were made, or delete their directories: they then run again",
        )
