"""Any runs as a sweep shows its jobs: an arm is all that differ in their seed alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from tunix_exp.evidence.kinds import config
from tunix_exp.evidence.kinds.composed import overrides_of
from tunix_exp.evidence.kinds.read import object_if_any
from tunix_exp.numbers import written
from tunix_exp.report.sweep import Summary
from tunix_exp.sweep.config import SweepConfig
from tunix_exp.sweep.job import read_job, settings_of
from tunix_exp.sweep.summary import SEED, summarized

# No arm differs from another in its name alone.
_OF_NO_ARM = frozenset({SEED, "name"})

Settings = Mapping[str, str]


def compared(runs: Sequence[Path], by: SweepConfig) -> Summary | None:
    """The runs' arms, compared as those of a sweep; None where no two runs are of one arm.

    Which runs are of one arm follows from their configs. An arm is named by what was typed for it, where that
    tells the arms apart, else by the keys of the config in which they differ.
    """
    configs = [config.flatten(object_if_any(config.KIND, run) or {}) for run in runs]
    plain = [{key: written(value) for key, value in one.items() if key != "name"} for one in configs]
    if len({_own(one) for one in plain}) == len(runs):
        return None
    typed = [_of_a_run(settings_of(overrides_of(run))) for run in runs]
    named = typed if _tell_apart(typed, plain) else plain
    seeds = [{SEED: one[SEED]} if SEED in one else {} for one in plain]
    jobs = [
        read_job(number, {**settings, **seed}, run.parent, str(run.resolve()))
        for number, (run, settings, seed) in enumerate(zip(runs, _differing(named), seeds, strict=True))
    ]
    return summarized(jobs, by)


def _of_a_run(settings: Settings) -> Settings:
    """Without what a sweep's jobs are compared by, which decides nothing of a run."""
    return {key: value for key, value in settings.items() if not key.startswith("sweep.")}


def _own(settings: Settings) -> frozenset[tuple[str, str]]:
    return frozenset((key, value) for key, value in settings.items() if key not in _OF_NO_ARM)


def _tell_apart(typed: Sequence[Settings], configs: Sequence[Settings]) -> bool:
    """Whether runs were typed alike exactly where their configs are alike, but for the seed."""
    pairs = {(_own(words), _own(one)) for words, one in zip(typed, configs, strict=True)}
    return len(pairs) == len({words for words, _ in pairs}) == len({one for _, one in pairs})


def _differing(settings: Sequence[Settings]) -> list[Settings]:
    keys = dict.fromkeys(key for one in settings for key in one if key not in _OF_NO_ARM)
    differing = [key for key in keys if len({one.get(key) for one in settings}) > 1]
    return [{key: one[key] for key in differing if key in one} for one in settings]
