"""Two models' answers to the same items: what differs, how sure that is, and what could have been seen.

Every interval is a paired bootstrap: items are drawn anew with replacement, both answers of an item together
(Efron and Tibshirani 1993). The plain percentile interval is too narrow where few items flip, and no interval
at all where none does. Two cures, each checked by simulation in the tests:

- accuracy: a draw is of the n pairs and of two imaginary ones, a flip to right and a flip to wrong. This is
  Bonett and Price's Laplace adjustment of the interval for paired proportions (2012, Journal of Educational
  and Behavioral Statistics 37:479) as a bootstrap: no flip among 300 items gives -1.0 to +1.0 points.
- held-out loss: the bootstrap-t, which divides each draw's deviation by its own standard error and so
  follows skewed losses (Efron and Tibshirani, chapter 12.5).

`scipy.stats` is not used: its bootstrap has neither of the two, and its binomial test differs from the exact
quotient in the last digits, where `verify` expects those that a run wrote. The generators are NumPy's legacy
ones, whose streams are frozen, and intervals are rounded to six decimals, so that another version or
processor computes the same digits.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Literal, Protocol

from tunix_exp.errors import UserError
from tunix_exp.scoring.scorecard import Prediction

Verdict = Literal["better", "worse", "no evidence of a difference"]
NO_EVIDENCE: Verdict = "no evidence of a difference"

# Changes whenever the same answers would give other numbers.
STATISTICS_VERSION = "v1"
LEVEL, POWER = 0.95, 0.80
GROUPS = ("section", "category", "difficulty")

_DECIMALS = 6
# Draws held in memory at a time: as many as a core's cache holds.
_CHUNK = 2**17
# With fewer, too many draws hold one item alone and have no standard error.
_FEWEST_LOSSES = 4


class Marked(Protocol):
    """An answer that is right or wrong, and the groups that its item belongs to: a `Prediction`, for one."""

    @property
    def id(self) -> str:
        """The item's."""
        ...

    @property
    def correct(self) -> bool:
        """Whether the answer is right."""
        ...

    @property
    def section(self) -> str | None:
        """The item's section, if it has one."""
        ...

    @property
    def category(self) -> str | None:
        """Its category."""
        ...

    @property
    def difficulty(self) -> str | None:
        """Its difficulty."""
        ...


@dataclass(frozen=True, slots=True)
class ItemLoss:
    """The negative log-likelihood (nats) of one item's response, and its tokens."""

    id: str
    nats: float
    tokens: int

    def to_dict(self) -> dict[str, Any]:
        """The fields in their order, ready for JSON."""
        return {"id": self.id, "nats": self.nats, "tokens": self.tokens}

    @classmethod
    def from_dict(cls, row: Mapping[str, Any], *, where: str) -> "ItemLoss":
        """The loss that `row` spells; else a `UserError` that names `where` (file and line)."""
        if row.keys() != {"id", "nats", "tokens"}:
            fault = f"has the keys {', '.join(row)}"
        elif type(row["id"]) is not str or type(row["nats"]) is not float:
            fault = f"`id` is {row['id']!r:.60} and `nats` is {row['nats']!r:.60}"
        elif type(row["tokens"]) is not int or row["tokens"] < 1 or row["nats"] < 0:
            fault = f"`nats` is {row['nats']!r:.60} of `tokens` {row['tokens']!r:.60}"
        else:
            return cls(**row)
        raise UserError(
            f"not an item's loss: {fault}",
            where=where,
            remedy="a loss has an id, nats (0.0 or more) and tokens (1 or more), and nothing else",
        )


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What one model made of the items, in their order; a loss is of the item's own reasoning and answer."""

    predictions: Sequence[Prediction]
    losses: Sequence[ItemLoss]


@dataclass(frozen=True, slots=True)
class Flips:
    """How `n` pairs of answers fall: right in both, flipped to right, to wrong; the rest in neither."""

    n: int
    both: int
    to_right: int
    to_wrong: int

    @classmethod
    def of(cls, pairs: Sequence[tuple[bool, bool]]) -> "Flips":
        """The counts of pairs of (right before, right after)."""
        kinds = ((True, True), (False, True), (True, False))
        return cls(len(pairs), *(pairs.count(kind) for kind in kinds))

    @property
    def before(self) -> float:
        """The accuracy of the first model."""
        return (self.both + self.to_wrong) / self.n

    @property
    def after(self) -> float:
        """The accuracy of the second model."""
        return (self.both + self.to_right) / self.n

    @property
    def difference(self) -> float:
        """The second accuracy less the first, from the counts and not from two rounded scores."""
        return (self.to_right - self.to_wrong) / self.n


def compare(
    base: Sequence[Marked],
    trained: Sequence[Marked],
    *,
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """The comparison of two models on the same items in the same order, ready for JSON.

    The groups' p-values are corrected together: sections, categories and difficulties are one family of
    looks. `better` and `worse` need both the exact test (5 %) and an interval that leaves out zero.
    """
    _refuse_other_items(base, trained)
    pairs = [(before.correct, after.correct) for before, after in zip(base, trained, strict=True)]
    flips = Flips.of(pairs)
    interval, p = accuracy_interval(flips, resamples=resamples, seed=seed), mcnemar_p(flips)
    verdict = _verdict(interval, p)
    detectable = smallest_detectable(flips.n, flips.to_right + flips.to_wrong)
    return {
        "n_items": flips.n,
        "base_accuracy": flips.before,
        "trained_accuracy": flips.after,
        "difference": flips.difference,
        "interval_95": interval,
        "mcnemar_p": p,
        "flips_to_right": flips.to_right,
        "flips_to_wrong": flips.to_wrong,
        "smallest_detectable_difference": detectable,
        "resamples": resamples,
        "seed": seed,
        "verdict": verdict,
        **_by_group(base, pairs, resamples=resamples, seed=seed),
    }


def compare_losses(
    base: Sequence[ItemLoss], trained: Sequence[ItemLoss], *, resamples: int, seed: int
) -> dict[str, Any]:
    """The held-out losses (nats per response token) of two models on the same items, ready for JSON."""
    _refuse_other_items(base, trained)
    if [one.tokens for one in base] != [one.tokens for one in trained]:
        raise ValueError("the two models counted different tokens in the same items")
    before, after = mean_loss(base), mean_loss(trained)
    return {
        "base_nats": before,
        "trained_nats": after,
        "difference_nats": after - before,
        "interval_95": loss_interval(base, trained, resamples=resamples, seed=seed),
        "n_items": len(base),
    }


def mean_loss(items: Sequence[ItemLoss]) -> float:
    """The mean negative log-likelihood (nats) of all the items' response tokens."""
    return math.fsum(item.nats for item in items) / sum(item.tokens for item in items)


def mcnemar_p(flips: Flips) -> float:
    """The exact two-sided p-value of McNemar's test: as many flips one way as a fair coin would give.

    The sum of binomial probabilities is exact in whole numbers (Fagerland, Lydersen and Laake 2013, BMC
    Medical Research Methodology 13:91).
    """
    flipped, fewer = flips.to_right + flips.to_wrong, min(flips.to_right, flips.to_wrong)
    ways, term = 0, 1
    for k in range(fewer + 1):
        ways += term
        term = term * (flipped - k) // (k + 1)
    return min(1.0, 2 * ways / 2**flipped)


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values corrected for so many looks, in their own order (Holm 1979); valid for any dependence."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    corrected, floor = [0.0] * len(p_values), 0.0
    for place, index in enumerate(order):
        floor = max(floor, min(1.0, (len(p_values) - place) * p_values[index]))
        corrected[index] = floor
    return corrected


def smallest_detectable(n: int, flipped: int) -> float | None:
    """The smallest difference that McNemar's test at 5 % finds in `n` items four times in five.

    Connor (1987, Biometrics 43:207): a difference d is found among items of which a share s flips when
    sqrt(n) d = z(0.975) sqrt(s) + z(0.80) sqrt(s - d^2). The share is the observed one, but no less than d,
    since a difference of d takes at least that many flips. `None` where not even flipping all would do.
    """
    z_test, z_power = NormalDist().inv_cdf((1 + LEVEL) / 2), NormalDist().inv_cdf(POWER)

    def is_found(d: float) -> bool:
        share = max(flipped / n, d)
        return math.sqrt(n) * d >= z_test * math.sqrt(share) + z_power * math.sqrt(share - d * d)

    # The exact test gives 2 / 2^n when all flip: more than 5 % for five items.
    if n < 6 or not is_found(1.0):
        return None
    low, high = 0.0, 1.0
    while high - low > 10**-_DECIMALS / 4:
        middle = (low + high) / 2
        low, high = (low, middle) if is_found(middle) else (middle, high)
    return round(high, _DECIMALS)


def accuracy_interval(flips: Flips, *, resamples: int, seed: int) -> list[float]:
    """The 95 % interval of the difference; see the module's first lines for the two imaginary pairs."""
    n = flips.n + 2
    shares = [(flips.to_right + 1) / n, (flips.to_wrong + 1) / n]
    # n pairs of three kinds drawn with replacement are a multinomial: the same draws, not one by one
    drawn_R3 = _generator(seed).multinomial(n, [*shares, max(0.0, 1 - sum(shares))], size=resamples)
    return [round(int(end) / n, _DECIMALS) for end in _percentiles(drawn_R3[:, 0] - drawn_R3[:, 1])]


def loss_interval(
    base: Sequence[ItemLoss], trained: Sequence[ItemLoss], *, resamples: int, seed: int
) -> list[float] | None:
    """The 95 % interval of the difference in nats per token; `None` where the items are too few for one."""
    import numpy as np

    n = len(base)
    if n < _FEWEST_LOSSES:
        return None
    change_N = np.array([after.nats - before.nats for before, after in zip(base, trained, strict=True)])
    tokens_N = np.array([item.tokens for item in base], dtype=np.float64)
    observed, error = _ratio(change_N, tokens_N)
    generator, deviation_R = _generator(seed), np.empty(resamples)
    per_chunk = max(1, _CHUNK // n)
    for start in range(0, resamples, per_chunk):
        rows = min(per_chunk, resamples - start)
        drawn_RN = generator.randint(0, n, size=(rows, n), dtype=np.int64)
        ratio_R, error_R = _ratio(change_N[drawn_RN], tokens_N[drawn_RN])
        with np.errstate(divide="ignore", invalid="ignore"):
            scaled_R = (ratio_R - observed) / error_R
        # 0/0 is a draw that deviates in nothing
        deviation_R[start : start + rows] = np.where(np.isnan(scaled_R), 0.0, scaled_R)
    low, high = map(float, _percentiles(deviation_R))
    if not (math.isfinite(low) and math.isfinite(high)):
        return None  # nearly all items changed alike, so that too many draws have no error of their own
    return [round(float(observed - end * error), _DECIMALS) for end in (high, low)]


def _by_group(
    base: Sequence[Marked], pairs: Sequence[tuple[bool, bool]], *, resamples: int, seed: int
) -> dict[str, dict[str, Any]]:
    looks = [(group, name, flips) for group in GROUPS for name, flips in _groups(base, pairs, group)]
    p_values = [mcnemar_p(flips) for _, _, flips in looks]
    found: dict[str, dict[str, Any]] = {f"per_{group}": {} for group in GROUPS}
    for (group, name, flips), p, corrected in zip(looks, p_values, holm(p_values), strict=True):
        found[f"per_{group}"][name] = {
            "n_items": flips.n,
            "base_accuracy": flips.before,
            "trained_accuracy": flips.after,
            "difference": flips.difference,
            "interval_95": accuracy_interval(flips, resamples=resamples, seed=seed),
            "p": p,
            "p_corrected": corrected,
        }
    return found


def _groups(
    answers: Sequence[Marked], pairs: Sequence[tuple[bool, bool]], group: str
) -> Iterator[tuple[str, Flips]]:
    members: dict[str, list[tuple[bool, bool]]] = {}
    for answer, pair in zip(answers, pairs, strict=True):
        name = getattr(answer, group)
        if name is not None:
            members.setdefault(name, []).append(pair)
    for name in sorted(members):
        yield name, Flips.of(members[name])


def _verdict(interval: Sequence[float], p: float) -> Verdict:
    if p > 1 - LEVEL:
        return NO_EVIDENCE
    if interval[0] > 0:
        return "better"
    return "worse" if interval[1] < 0 else NO_EVIDENCE


def _ratio(change: Any, tokens: Any) -> tuple[Any, Any]:
    """The change per token over the last axis, and its standard error by linearisation."""
    import numpy as np

    n = change.shape[-1]
    total = tokens.sum(axis=-1)
    ratio = change.sum(axis=-1) / total
    residual = change - ratio[..., None] * tokens
    return ratio, np.sqrt((residual * residual).sum(axis=-1) * n / (n - 1)) / total


def _percentiles(values: Any) -> tuple[Any, Any]:
    """The ends of the middle 95 % of `values`, rounded outwards to values that were drawn."""
    import numpy as np

    left = int(len(values) * (1 - LEVEL) / 2)
    parted = np.partition(values, [left, len(values) - 1 - left])
    return parted[left], parted[len(values) - 1 - left]


def _generator(seed: int) -> Any:
    import numpy as np

    return np.random.RandomState(np.random.MT19937(seed))


def _refuse_other_items(base: Sequence[Any], trained: Sequence[Any]) -> None:
    if not base or [one.id for one in base] != [one.id for one in trained]:
        raise ValueError(
            "a comparison is of answers to the same items in the same order, and of at least one"
        )
