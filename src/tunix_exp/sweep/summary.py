"""What a sweep shows, as JSON: a row a job, an arm for all that differ in their seed alone, the best arm.

Figures are of completed runs alone: a run that failed has a row, and no score.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from tunix_exp.scoring import arms as statistics
from tunix_exp.scoring.paired import ItemLoss, loss_interval
from tunix_exp.sweep.config import METRICS, MetricName, SweepConfig
from tunix_exp.sweep.job import Figures, Job

SCHEMA_VERSION = 1
SEED = "seed"
_SHOWN_BELOW = 0.05
_TO_SEE = 0.05
_FIGURES: tuple[MetricName, ...] = tuple(METRICS)
# Of the draws of intervals and tests; a run's own are drawn with its own seed.
_DRAWS_SEED = 0

Plain = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Arm:
    """The jobs of one setting, and its completed runs: one a seed, as a second one is no other sample."""

    settings: Mapping[str, str]
    jobs: tuple[Job, ...]
    done: tuple[Job, ...]

    def values(self, metric: MetricName) -> list[float]:
        """The figure of every run that has it."""
        found = (job.figures.values.get(metric) for job in self.done)
        return [value for value in found if value is not None]

    @property
    def figures(self) -> list[Figures]:
        """Those of the runs that answered items."""
        return [job.figures for job in self.done if job.figures.items is not None]

    def right(self, metric: MetricName) -> list[int]:
        """How many runs had each item right, by a metric that is a share of items."""
        return [sum(marks) for marks in zip(*(one.marks[metric] for one in self.figures), strict=True)]

    @property
    def losses(self) -> tuple[ItemLoss, ...]:
        """Each item's loss, the mean over the runs; empty where a run has none."""
        if not all(one.losses for one in self.figures):
            return ()
        rows = zip(*(one.losses for one in self.figures), strict=True)
        return tuple(ItemLoss(row[0].id, fmean(one.nats for one in row), row[0].tokens) for row in rows)


def summarized(jobs: Sequence[Job], config: SweepConfig) -> Plain:
    """The summary of the jobs, in the order of their numbers."""
    swept = swept_keys(jobs)
    arms = _arms(jobs, swept)
    return {
        "schema_version": SCHEMA_VERSION,
        "metric": config.metric,
        "goal": config.direction,
        "swept": swept,
        "n_jobs": len(jobs),
        "n_completed": sum(job.is_completed for job in jobs),
        "jobs": [_row(job, swept) for job in jobs],
        "arms": [_arm_row(arm, config) for arm in arms],
        **_best(arms, config),
    }


def swept_keys(jobs: Sequence[Job]) -> list[str]:
    """The keys in whose values the jobs differ, in the order in which they were typed; the seed last."""
    keys = dict.fromkeys(key for job in jobs for key in job.settings)
    swept = [key for key in keys if len({job.settings.get(key) for job in jobs}) > 1]
    return sorted(swept, key=lambda key: key == SEED)


def objective(job: Job, config: SweepConfig) -> float | None:
    """What a sweeper is told of a job; `None` of one that did not complete, or did not compute it."""
    return job.figures.values.get(config.metric)


def arm_name(settings: Mapping[str, str]) -> str:
    """The settings as they are typed."""
    return " ".join(f"{key}={value}" for key, value in settings.items()) or "all runs"


def _arms(jobs: Sequence[Job], swept: Sequence[str]) -> list[Arm]:
    groups: dict[tuple[tuple[str, str], ...], list[Job]] = {}
    for job in jobs:
        own = tuple((key, job.settings[key]) for key in swept if key != SEED and key in job.settings)
        groups.setdefault(own, []).append(job)
    return [Arm(dict(own), tuple(some), _one_a_seed(some)) for own, some in groups.items()]


def _one_a_seed(jobs: Sequence[Job]) -> tuple[Job, ...]:
    """The first completed run of each seed."""
    found: dict[int | None, Job] = {}
    for job in jobs:
        if job.is_completed:
            found.setdefault(job.seed, job)
    return tuple(found.values())


def _row(job: Job, swept: Sequence[str]) -> Plain:
    figures = job.figures
    interval = None
    right = figures.marks.get("primary_score", ())
    if right and figures.resamples is not None:
        interval = statistics.score_interval(
            [int(one) for one in right], 1, resamples=figures.resamples, seed=_DRAWS_SEED
        )
    return {
        "job": job.number,
        "directory": job.directory,
        "status": job.status,
        "is_regressed": job.is_regressed,
        "settings": {key: job.settings.get(key) for key in swept},
        "seed": job.seed,
        **{name: figures.values.get(name) for name in _FIGURES},
        "score_over_base": figures.over_base,
        "n_items": len(right) or None,
        "primary_score_interval_95_over_items": interval,
        "elapsed_s": job.elapsed_s,
        "error": job.error,
    }


def _arm_row(arm: Arm, config: SweepConfig) -> Plain:
    values, items = arm.values(config.metric), _same_items([arm], config)
    over_seeds = _within(0.0, statistics.seeds_interval(values), config)
    return {
        "arm": arm_name(arm.settings),
        "settings": dict(arm.settings),
        "jobs": [job.number for job in arm.jobs],
        "n_completed": sum(job.is_completed for job in arm.jobs),
        "mean": fmean(values) if values else None,
        "over_seeds": {"n": len(values), "interval_95": over_seeds},
        "over_items": {
            "n": len(arm.figures[0].marks["primary_score"]) if items else None,
            "interval_95": _over_items(arm, config) if items and values else None,
        },
        **{f"mean_{name}": fmean(found) if (found := arm.values(name)) else None for name in _FIGURES},
    }


def _within(least: float, ends: statistics.Ends | None, config: SweepConfig) -> statistics.Ends | None:
    """The interval cut to what can be: no score, and no lead of one, is above one."""
    if ends is None:
        return None
    low, high = ends
    return max(least, low), min(1.0, high) if METRICS[config.metric].is_share else high


def _over_items(arm: Arm, config: SweepConfig) -> statistics.Ends | None:
    resamples = arm.figures[0].resamples
    assert resamples is not None
    if METRICS[config.metric].is_share:
        right = arm.right(config.metric)
        return statistics.score_interval(right, len(arm.figures), resamples=resamples, seed=_DRAWS_SEED)
    if config.metric == "heldout_loss_nats" and arm.losses:
        return statistics.arm_loss_interval(arm.losses, resamples=resamples, seed=_DRAWS_SEED)
    return None


def _same_items(arms: Sequence[Arm], config: SweepConfig) -> bool:
    """Whether all runs of the arms answered the same items; a loss is per token of them."""
    figures = [job.figures for arm in arms for job in arm.done]
    asked = {one.items for one in figures}
    tokens = {tuple(loss.tokens for loss in one.losses) for one in figures}
    is_of_tokens = config.metric == "heldout_loss_nats"
    return len(asked) == 1 and None not in asked and not (is_of_tokens and len(tokens) > 1)


def _best(arms: Sequence[Arm], config: SweepConfig) -> Plain:
    ranked = [(fmean(values), arm) for arm in arms if (values := arm.values(config.metric))]
    ranked.sort(key=lambda one: -one[0] if config.direction == "maximize" else one[0])
    if not ranked:
        return {"best": None, "no_best": "no figure"}
    scored = [arm for _, arm in ranked]
    if config.metric != "training_loss" and not _same_items(scored, config):
        return {"best": None, "no_best": "other items"}
    mean, best = ranked[0]
    found: Plain = {"arm": arm_name(best.settings), "jobs": [job.number for job in best.done], "mean": mean}
    if len(ranked) == 1:
        return {"best": {**found, "runner_up": None}, "no_best": None}
    second_mean, second = ranked[1]
    lead = (mean - second_mean) if config.direction == "maximize" else (second_mean - mean)
    over_items = _lead_over_items(best, second, len(ranked) - 1, config)
    runner_up = {
        "arm": arm_name(second.settings),
        "mean": second_mean,
        "lead": lead,
        "over_seeds": _lead_over_seeds(best, second, config),
        "over_items": over_items,
        "is_shown": None if over_items is None else over_items["p_corrected"] <= _SHOWN_BELOW,
    }
    return {"best": {**found, "runner_up": runner_up}, "no_best": None}


def _lead_over_seeds(best: Arm, second: Arm, config: SweepConfig) -> Plain:
    """The lead among the seeds that both arms have."""
    by_seed = [dict(_by_seed(arm, config.metric)) for arm in (best, second)]
    seeds = [seed for seed in by_seed[0] if seed in by_seed[1]]
    sign = 1 if config.direction == "maximize" else -1
    leads = [sign * (by_seed[0][seed] - by_seed[1][seed]) for seed in seeds]
    is_share = METRICS[config.metric].is_share
    least = -1.0 if is_share else -math.inf
    ends = _within(least, statistics.seeds_interval(leads), config)
    found: Plain = {"n": len(seeds), "interval_95": ends}
    if is_share:
        found["n_to_see_5_points"] = statistics.pairs_needed(leads, _TO_SEE)
    return found


def _by_seed(arm: Arm, metric: MetricName) -> Iterator[tuple[int | None, float]]:
    for job in arm.done:
        value = job.figures.values.get(metric)
        if value is not None:
            yield job.seed, value


def _lead_over_items(best: Arm, second: Arm, comparisons: int, config: SweepConfig) -> Plain | None:
    """The lead's interval and test over items; `None` where the metric is none of items."""
    resamples = best.figures[0].resamples if best.figures else None
    if resamples is None or config.metric == "training_loss":
        return None
    sign = 1 if config.direction == "maximize" else -1
    if METRICS[config.metric].is_share:
        n_best, n_second = len(best.figures), len(second.figures)
        pairs = list(zip(best.right(config.metric), second.right(config.metric), strict=True))
        whole = [sign * (one * n_second - other * n_best) for one, other in pairs]
        shares = [one / (n_best * n_second) for one in whole]
        interval = statistics.lead_interval(shares, resamples=resamples, seed=_DRAWS_SEED)
        p, n = statistics.score_lead_p(whole), len(whole)
        needed = {"n_to_see_5_points": statistics.items_needed(shares, _TO_SEE)}
    else:
        if not (best.losses and second.losses):
            return None
        ends = [best.losses, second.losses][::sign]
        found = loss_interval(ends[1], ends[0], resamples=resamples, seed=_DRAWS_SEED)
        interval = None if found is None else (found[0], found[1])
        needed = {}
        changes = [one.nats - other.nats for one, other in zip(*ends, strict=True)]
        p, n = statistics.loss_lead_p(changes, resamples=resamples, seed=_DRAWS_SEED), len(changes)
    corrected = min(1.0, p * comparisons)
    return {
        "n": n,
        "interval_95": interval,
        "p": p,
        "comparisons": comparisons,
        "p_corrected": corrected,
        **needed,
    }
