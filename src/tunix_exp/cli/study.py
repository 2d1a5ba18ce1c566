"""The sweeper that searches: Optuna's TPE chooses the values of the next job from what earlier ones gave.

Hydra's own Optuna plugin is bound to optuna 2; this one asks and tells a study of today's, which lies in the
sweep's directory. Each choice is seeded by the job's number, so that a study that is gone on with chooses as
the one that was never killed.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from tunix_exp.cli import launchers
from tunix_exp.cli.composing import sweep_of
from tunix_exp.cli.sweeper import Jobs, refuse_unverified
from tunix_exp.errors import UserError
from tunix_exp.sweep import ledger
from tunix_exp.sweep.config import StudyConfig, sweeper_config
from tunix_exp.sweep.ledger import Ledger, PlannedJob
from tunix_exp.sweep.state import Standing, standings
from tunix_exp.sweep.summary import objective

STUDY = "study.log"
_NAME, _JOB = "sweep", "job"
# Of a number that is chosen from an interval.
_DIGITS = 6


class Study(Jobs):
    """`n_trials` jobs, whose values Optuna chooses."""

    def __init__(
        self,
        context: HydraContext,
        task: TaskFunction,
        config: DictConfig,
        settings: Mapping[str, Any],
    ) -> None:
        self._settings = sweeper_config(StudyConfig, settings)
        super().__init__(context, task, config, self._settings)
        self._metric = sweep_of(config)
        self._optuna = imported()

    def sweep(self, arguments: Sequence[str]) -> list[Any]:
        """What each job that was due returned, until there are as many jobs as were asked for."""
        parser = OverridesParser.create(config_loader=self._loader)
        overrides = parser.parse_overrides(list(arguments))
        alone = [one for one in overrides if not one.is_sweep_override()]
        fixed = [f"{one.get_key_element()}={one.get_value_element_as_str()}" for one in alone]
        swept = {one.get_key_element(): one for one in overrides if one.is_sweep_override()}
        choices = {key: self._choices(key, one) for key, one in swept.items()}
        self._refuse_no_figure(fixed, swept)
        if self._is_alone:
            self._refuse_several_environments(fixed, swept)
        self._root.mkdir(parents=True, exist_ok=True)
        if self._resumes:
            before = ledger.read(self._root)
            ledger.refuse_changed(before, self._planned([job.words for job in before.jobs], "study"))
            refuse_unverified(self._root, before)
        else:
            OmegaConf.save(self._config, self._root / ledger.CONFIG)
            ledger.write(self._root, self._planned([], "study"))
        study, returned = self._study(), []
        # a process may have ended between a job's end and its being told
        self._tell(study, [one.planned for one in standings(self._root) if one.job.is_completed])
        due = [one for one in standings(self._root) if one.is_due]
        with self._gone_on_with():
            while due or (due := self._chosen(study, fixed, choices)):
                batch, due = self._claimed(due)
                if batch:
                    returned += self._launched(batch)
                    self._tell(study, [one.planned for one in batch])
        return returned

    def _refuse_no_figure(self, fixed: Sequence[str], swept: Mapping[str, Override]) -> None:
        """Raise UserError where no job would have the metric, and choices would follow from nothing."""
        config = self._composed(0, fixed)[1]
        if config is None or not swept.keys().isdisjoint(("eval", "mode", "experiment")):
            return
        metric, mode = self._metric.metric, config["mode"]["name"]
        is_of_training = metric == "training_loss"
        lacks = "mode" if mode == "preflight" or (is_of_training and mode == "eval") else None
        if lacks is None and not is_of_training and config["eval"]["kind"] == "none":
            lacks = "eval"
        if lacks is not None:
            raise UserError(
                "no job of the study would have its metric:"
                f" sweep.metric={metric}, {lacks}={config[lacks]['name']}",
                where="sweep.metric",
                remedy=f"choose another `{lacks}`, or a metric that the jobs compute:"
                " without evaluation sweep.metric=training_loss",
            )

    def _refuse_several_environments(self, fixed: Sequence[str], swept: Mapping[str, Override]) -> None:
        """Raise UserError where a choice decides in what process a job can run."""
        listed = [one for one in swept.values() if not isinstance(one.value(), IntervalSweep)]
        words = [
            f"{one.get_key_element()}={value}" for one in listed for value in one.sweep_string_iterator()
        ]
        wanted = [launchers.environment_of(self._composed(0, [*fixed, word])[1]) for word in words]
        launchers.refuse_several_environments(list(zip(words, wanted, strict=True)))

    def _choices(self, key: str, override: Override) -> Any:
        """What may be chosen for the key: an interval is one of logarithms where it is tagged so."""
        value, of = override.value(), self._optuna.distributions
        if not isinstance(value, IntervalSweep):
            listed = list(override.sweep_string_iterator())
            is_shuffled = getattr(value, "shuffle", False)  # anew by each process that goes on
            return of.CategoricalDistribution(sorted(listed) if is_shuffled else listed)
        is_log, ends = "log" in value.tags, (value.start, value.end)
        is_whole = all(isinstance(end, int) for end in ends)  # as int(interval(1,5)) has them
        try:
            if any(end is None or not math.isfinite(end) for end in ends):
                raise ValueError("it has no end")
            kind = of.IntDistribution if is_whole else of.FloatDistribution
            return kind(*ends, log=is_log)
        except ValueError as error:
            raise UserError(
                f"nothing can be chosen from `{override.input_line}`: {str(error).rstrip('.')}",
                where=key,
                remedy="the lower end stands first; of tag(log,…) it is above zero",
            ) from None

    def _study(self) -> Any:
        storages = self._optuna.storages
        backend = storages.journal.JournalFileBackend(str(self._root / STUDY))
        self._optuna.logging.set_verbosity(self._optuna.logging.WARNING)
        return self._optuna.create_study(
            storage=storages.JournalStorage(backend),
            study_name=_NAME,
            direction=self._metric.direction,
            load_if_exists=True,
        )

    def _chosen(self, study: Any, fixed: Sequence[str], choices: Mapping[str, Any]) -> list[Standing]:
        """The next jobs of the study, in the ledger; none when there are enough."""
        with ledger.locked(self._root):
            known = ledger.read(self._root)
            begun = len(known.jobs)
            numbers = range(begun, min(self._settings.n_trials, begun + (self._at_once or 1)))
            for number in numbers:
                known = self._with_next(known, study, number, fixed, choices)
            ledger.write(self._root, known)
        return [one for one in standings(self._root) if one.planned.number in numbers]

    def _with_next(
        self, known: Ledger, study: Any, number: int, fixed: Sequence[str], choices: Mapping[str, Any]
    ) -> Ledger:
        study.sampler = self._optuna.samplers.TPESampler(
            seed=_seed(self._settings.seed, number), n_startup_trials=self._settings.n_startup_trials
        )
        trial = study.ask(dict(choices))
        trial.set_user_attr(_JOB, number)
        chosen = {key: _rounded(value, choices[key]) for key, value in trial.params.items()}
        words = [*fixed, *(f"{key}={value}" for key, value in chosen.items())]
        directory, config = self._composed(number, words)
        if not known.config and config is not None:
            known = ledger.begun(known.arguments, known.sweeper, known.code, config).model_copy(
                update={"jobs": known.jobs}
            )
        job = known.planned(number, words, directory, config)
        return known.model_copy(update={"jobs": (*known.jobs, job)})

    def _tell(self, study: Any, jobs: Sequence[PlannedJob]) -> None:
        """The study has what each job gave; one that gave nothing has failed."""
        state = self._optuna.trial.TrialState
        now = {one.planned.number: one.job for one in standings(self._root)}
        for job in jobs:
            every = study.get_trials(deepcopy=False)
            trials = [one for one in every if one.user_attrs.get(_JOB) == job.number]
            value = objective(now[job.number], self._metric)
            is_told = value is not None and math.isfinite(value)
            if not trials[-1].state.is_finished():
                told = {"values": value} if is_told else {"state": state.FAIL}
                study.tell(trials[-1].number, **told)
            elif is_told and trials[-1].state == state.FAIL:  # an earlier attempt had failed
                given = trials[-1]
                study.add_trial(
                    self._optuna.trial.create_trial(
                        params=given.params,
                        distributions=given.distributions,
                        value=value,
                        user_attrs=given.user_attrs,
                    )
                )


def imported() -> Any:
    """Optuna, which is an extra."""
    try:
        import optuna
    except ModuleNotFoundError:
        raise UserError(
            "optuna is not installed",
            where="hydra/sweeper=study",
            remedy="uv sync --extra sweep",
        ) from None
    return optuna


def _rounded(value: Any, of: Any) -> Any:
    """The value as a person would type it, inside what may be chosen: pages and tables have room for it."""
    if not isinstance(value, float):
        return value
    return min(max(float(f"{value:.{_DIGITS}g}"), of.low), of.high)


def _seed(seed: int, number: int) -> int:
    """The seed of a job's choices, which no job of a study with another seed has."""
    import numpy as np

    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
