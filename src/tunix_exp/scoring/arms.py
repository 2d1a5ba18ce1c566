"""Arms of a sweep, each of one run or of several that differ in their seed: how sure a mean is, and a lead.

Two questions are kept apart. Over seeds: what would other seeds of the same settings give? Student's t over
the runs' values. Over items: what would other items give these very runs? A bootstrap over items, each with
its mean over the arm's runs; as in `paired`, two imaginary items, one right and one wrong in all runs, keep
the interval of a score wide where few items differ.

A lead is tested over items by flipping the signs of the items' differences (Fisher's randomisation test, of
which McNemar's exact test is the case of one run an arm): exactly for scores, with draws for losses. The best
arm is chosen by the same items, so that p is multiplied by the number of comparisons (Bonferroni), also of
the closest.
"""

import functools
import math
from collections import Counter
from collections.abc import Sequence
from statistics import fmean, stdev

from tunix_exp.scoring.paired import LEVEL, ItemLoss, loss_interval

_DECIMALS = 6
_QUANTILES = (0.975, 0.8)  # of a test at 5 % with 80 % power
_BOTH_QUANTILES = 1.959963984540054 + 0.8416212335729143  # of the normal distribution
_FEWEST_UNLIKE = 6  # five alone, all to one side, have p = 2·2⁻⁵ = 6 %
_CHUNK = 2**21

Ends = tuple[float, float]


def seeds_interval(values: Sequence[float]) -> Ends | None:
    """The 95 % t interval of the mean over seeds; `None` of fewer than two."""
    n = len(values)
    if n < 2:
        return None
    half = student_quantile((1 + LEVEL) / 2, n - 1) * stdev(values) / math.sqrt(n)
    mean = fmean(values)
    return round(mean - half, _DECIMALS), round(mean + half, _DECIMALS)


def score_interval(right: Sequence[int], n_runs: int, *, resamples: int, seed: int) -> Ends:
    """The 95 % interval over items of the share of right answers; `right` counts each item's right runs."""
    return _items_interval([count / n_runs for count in right], (0.0, 1.0), resamples, seed)


def lead_interval(differences: Sequence[float], *, resamples: int, seed: int) -> Ends:
    """The 95 % interval over items of a mean difference of scores."""
    return _items_interval(differences, (-1.0, 1.0), resamples, seed)


@functools.lru_cache(maxsize=256)
def arm_loss_interval(losses: tuple[ItemLoss, ...], *, resamples: int, seed: int) -> Ends | None:
    """The 95 % interval over items of an arm's loss in nats per token; `None` where they are too few."""
    nothing = [ItemLoss(one.id, 0.0, one.tokens) for one in losses]
    found = loss_interval(nothing, losses, resamples=resamples, seed=seed)
    return None if found is None else (found[0], found[1])


def pairs_needed(differences: Sequence[float], to_see: float) -> int | None:
    """How many pairs that spread as these do show a mean difference of `to_see` with 80 % power, at 5 %.

    Of a paired t test; `None` of pairs that do not spread, which tell nothing.
    """
    spread = stdev(differences) if len(differences) > 1 else 0.0
    if not spread:
        return None
    n = max(2, math.ceil(_BOTH_QUANTILES**2 * spread**2 / to_see**2))
    while n < sum(student_quantile(one, n - 1) for one in _QUANTILES) ** 2 * spread**2 / to_see**2:
        n += 1
    return n


def items_needed(differences: Sequence[float], to_see: float) -> int | None:
    """The same of items scored right or wrong, by the exact test: it takes `_FEWEST_UNLIKE` that differ."""
    n, unlike = pairs_needed(differences, to_see), sum(one != 0 for one in differences)
    return None if n is None else max(n, math.ceil(_FEWEST_UNLIKE * len(differences) / unlike))


def score_lead_p(differences: Sequence[int]) -> float:
    """The exact two-sided p of the differences' sum, each with either sign alike.

    The sum's distribution is the inverse Fourier transform of a product of cosines.
    """
    import numpy as np

    sizes = Counter(abs(one) for one in differences if one)
    if not sizes:
        return 1.0
    unit = math.gcd(*sizes)
    most = sum(size // unit * count for size, count in sizes.items())
    waves = np.ones(2 * most + 1)
    angles = 2 * math.pi * np.arange(2 * most + 1) / (2 * most + 1)
    for size, count in sorted(sizes.items()):
        waves *= np.cos(angles * (size // unit)) ** count
    chances = np.fft.ifft(waves).real
    observed = abs(sum(differences)) // unit
    # sums from 0 to `most` stand first, those below zero mirrored behind them
    tail = float(chances[observed : 2 * most + 2 - observed].sum()) if observed else 1.0
    return round(min(1.0, max(0.0, tail)), 9)


def loss_lead_p(differences: Sequence[float], *, resamples: int, seed: int) -> float:
    """The two-sided p of the mean of the differences, from draws of their signs."""
    import numpy as np

    values = np.asarray(differences)
    generator = np.random.RandomState(np.random.MT19937(seed))
    observed, reached = abs(values.sum()) * (1 - 1e-12), 0
    per_chunk = max(1, _CHUNK // len(values))
    for start in range(0, resamples, per_chunk):
        rows = min(per_chunk, resamples - start)
        signs = 2.0 * generator.randint(0, 2, size=(rows, len(values)), dtype=np.int8) - 1
        reached += int((np.abs(signs @ values) >= observed).sum())
    return round((1 + reached) / (1 + resamples), 9)


@functools.cache
def student_quantile(level: float, df: int) -> float:
    """Student's t below which `level` (over one half) of its distribution lies, by bisection."""
    low, high = 0.0, 1.0
    while student_share(high, df) < level:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if student_share(middle, df) < level else (low, middle)
    return (low + high) / 2


def student_share(t: float, df: int) -> float:
    """The share of Student's t with a whole number of degrees of freedom that lies below `t` (0 or more).

    The finite sums of Abramowitz and Stegun, 26.7.3 and 26.7.4.
    """
    angle = math.atan(t / math.sqrt(df))
    cos2 = math.cos(angle) ** 2
    term, total = (math.cos(angle), 0.0) if df % 2 else (1.0, 0.0)
    for k in range(3 if df % 2 else 2, df + 1, 2):
        total += term
        term *= cos2 * (k - 1) / k
    if df % 2:
        within = 2 / math.pi * (angle + (math.sin(angle) * total if df > 1 else 0.0))
    else:
        within = math.sin(angle) * total
    return (1 + within) / 2


def _items_interval(values: Sequence[float], extremes: Ends, resamples: int, seed: int) -> Ends:
    import numpy as np

    counts = Counter([*values, *extremes])
    kinds, n = sorted(counts), len(values) + 2
    generator = np.random.RandomState(np.random.MT19937(seed))
    # n items drawn with replacement are a multinomial of their kinds
    shares = [counts[kind] / n for kind in kinds]
    drawn_RK = generator.multinomial(n, shares, size=resamples)
    means_R = np.sort(drawn_RK @ np.array(kinds) / n)
    left = int(resamples * (1 - LEVEL) / 2)
    low, high = float(means_R[left]), float(means_R[resamples - 1 - left])
    return round(low, _DECIMALS), round(high, _DECIMALS)
