import math
from collections import Counter
from dataclasses import astuple, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.data.toys import TEMPLATE, example
from tunix_exp.data.batch import Batch, laid_out
from tunix_exp.data.batches import Batches
from tunix_exp.data.mixture import Weighted
from tunix_exp.data.packing import may_close
from tunix_exp.data.render import Renderer
from tunix_exp.data.tokenize import tokenize
from tunix_exp.data.tokenizer import load_tokenizer
from tunix_exp.errors import UserError

EXAMPLES = [example(f"{number}?", answer="x" * (number % 3 + 1), name=f"x-{number}") for number in range(10)]
TOKENIZED = tokenize(EXAMPLES, Renderer(TEMPLATE), load_tokenizer("bundled:bytes", chat="none"), 16, "error")


# As many lengths as a real set has, some of them often: 13 to 52 tokens.
MIXED = [example("?" * (1 + n * n % 40), name=f"m-{n}") for n in range(37)]
MIXED = tokenize(MIXED, Renderer(TEMPLATE), load_tokenizer("bundled:bytes", chat="none"), 64, "error")
LENGTHS = {kept.example.id: len(kept.tokens_T) for kept in MIXED.kept}
KINDS = [("padded", None), ("buckets", 3), ("buckets", (24, 40, 99)), ("packed", None)]
EVERY_KIND = pytest.mark.parametrize(("batching", "widths"), KINDS)


def batches(seed: int = 7, batch_size: int = 4) -> Batches:
    return Batches(
        [Weighted(TOKENIZED.kept)],
        seed=seed,
        batch_size=batch_size,
        max_tokens=16,
        pad_id=256,
        batching="padded",
        bucket_widths=None,
    )


def mixed(batching: Any, widths: Any, *, seed: int = 7, batch_size: int = 4) -> Batches:
    return Batches(
        [Weighted(MIXED.kept)],
        seed=seed,
        batch_size=batch_size,
        max_tokens=64,
        pad_id=256,
        batching=batching,
        bucket_widths=widths,
    )


def ids(batches: Batches, steps: int) -> list[str]:
    return [name for step in range(steps) for name in batches[step].example_ids]


def test_a_batch_depends_on_seed_and_step_alone():
    first, second = batches(), batches()
    later = first[5]
    _ = first[3], first[0]
    for wanted, got in ((later, second[5]), (later, first[5])):
        assert wanted.example_ids == got.example_ids
        np.testing.assert_array_equal(wanted.tokens_BT, got.tokens_BT)
        np.testing.assert_array_equal(wanted.loss_mask_BT, got.loss_mask_BT)
        np.testing.assert_array_equal(wanted.segment_ids_BT, got.segment_ids_BT)


def test_the_order_of_a_seed_never_changes():
    # A golden of grain 0.2.18: another order would break runs that resume under a newer version.
    assert batches()[0].example_ids == GOLDEN


def test_another_seed_gives_another_order():
    assert ids(batches(seed=1), 5) != ids(batches(seed=2), 5)


def test_each_epoch_holds_each_example_once_in_a_new_order():
    seen = ids(batches(), 5)
    first, second = seen[:10], seen[10:]
    assert Counter(first) == Counter(second) == Counter(row.id for row in EXAMPLES)
    assert first != second


def test_the_order_of_examples_does_not_depend_on_the_batch_size():
    assert ids(batches(batch_size=2), 10) == ids(batches(batch_size=5), 4)
    assert (batches(batch_size=2).steps_per_epoch, batches().steps_per_epoch) == (5, 2.5)


def equal(one: Batch, other: Batch) -> bool:
    arrays = zip(astuple(one), astuple(other), strict=True)
    return all(np.array_equal(left, right) for left, right in arrays)


@EVERY_KIND
def test_any_step_can_be_asked_first_as_a_run_does_that_resumes(batching, widths):
    straight = mixed(batching, widths)
    all_steps = [straight[step] for step in range(25)]
    for step in (13, 24, 2):
        assert equal(mixed(batching, widths)[step], all_steps[step])


@EVERY_KIND
def test_an_epoch_of_whole_batches_holds_every_example_once(batching, widths):
    steps = round(mixed(batching, widths, batch_size=1).steps_per_epoch)
    whole = mixed(batching, widths, batch_size=steps)
    assert whole.steps_per_epoch == 1
    first, second = whole[0].example_ids, whole[1].example_ids
    assert sorted(first) == sorted(second) == sorted(LENGTHS)
    assert first != second
    alone = mixed(batching, widths, batch_size=1)
    assert Counter(ids(alone, 2 * steps)) == Counter(dict.fromkeys(LENGTHS, 2))


@EVERY_KIND
def test_other_seeds_and_epochs_put_other_examples_together(batching, widths):
    one, other = mixed(batching, widths), mixed(batching, widths, seed=8)
    assert one[0].example_ids != other[0].example_ids
    held = [{tuple(sorted(made[step].example_ids)) for step in range(9)} for made in (one, other)]
    assert held[0] != held[1]


@EVERY_KIND
def test_every_row_holds_its_examples_whole_marked_and_apart(batching, widths):
    made = mixed(batching, widths)
    by_id = {kept.example.id: kept for kept in MIXED.kept}
    for step in range(12):
        batch = made[step]
        names = iter(batch.example_ids)
        for row, segment_ids_T in enumerate(batch.segment_ids_BT):
            start = 0
            for segment in range(1, segment_ids_T.max() + 1):
                kept = by_id[next(names)]
                end = start + len(kept.tokens_T)
                assert (segment_ids_T[start:end] == segment).all()
                np.testing.assert_array_equal(batch.tokens_BT[row, start:end], kept.tokens_T)
                learned = np.flatnonzero(batch.loss_mask_BT[row, start:end])
                assert learned.tolist() == list(range(kept.prompt_length, end - start))
                start = end
            assert not segment_ids_T[start:].any()
            assert not batch.loss_mask_BT[row, start:].any()
            assert (batch.tokens_BT[row, start:] == 256).all()
        assert next(names, None) is None


def test_buckets_see_the_rows_that_padding_sees_in_as_many_steps():
    plain, sorted_ = mixed("padded", None), mixed("buckets", 3)
    for first in (0, 10, 20):  # 37 rows in batches of 4: ten steps
        steps = range(first, first + 10)
        assert Counter(n for s in steps for n in plain[s].example_ids) == Counter(
            n for s in steps for n in sorted_[s].example_ids
        )


def test_buckets_have_few_widths_and_join_few_batches():
    made = mixed("buckets", (24, 40, 64))
    joined = 0
    for step in range(10):
        batch = made[step]
        width = batch.tokens_BT.shape[1]
        own = [next(w for w in (24, 40, 64) if w >= LENGTHS[name]) for name in batch.example_ids]
        assert width == max(own)
        joined += len(set(own)) > 1
    assert joined <= 2
    assert made.widths(10) == (24, 40, 64)
    assert made.widths(1) == (made[0].tokens_BT.shape[1],)


def test_rows_that_are_not_filled_up_are_no_wider_than_they_must_be():
    utilisation = {kind[0]: mixed(*kind).statistics().utilisation for kind in KINDS if kind[1] != 3}
    assert utilisation["padded"] < utilisation["buckets"] < utilisation["packed"]
    assert utilisation["packed"] > 0.9


@EVERY_KIND
def test_the_statistics_are_those_of_the_first_epoch_s_batches(batching, widths):
    made = mixed(batching, widths)
    said = made.statistics()
    epoch = [made[step] for step in range(math.ceil(made.steps_per_epoch))]
    assert said.batches_of_width == Counter(batch.tokens_BT.shape[1] for batch in epoch)
    real = sum((batch.segment_ids_BT > 0).sum() for batch in epoch)
    assert said.utilisation == pytest.approx(real / sum(batch.tokens_BT.size for batch in epoch))
    assert (said.examples, said.rows) == (37, round(4 * made.steps_per_epoch))
    assert said.examples_per_row == 37 / said.rows
    assert said.describe().startswith(f"{batching}; {said.rows} rows")


def test_a_batch_is_padded_and_masked_by_token():
    batch = batches(batch_size=10)[0]
    assert batch.tokens_BT.shape == batch.segment_ids_BT.shape == batch.loss_mask_BT.shape == (10, 16)
    assert (batch.tokens_BT.dtype, batch.segment_ids_BT.dtype, batch.loss_mask_BT.dtype) == (
        np.int32,
        np.int32,
        np.bool_,
    )
    by_id = {kept.example.id: kept for kept in TOKENIZED.kept}
    for row, name in enumerate(batch.example_ids):
        kept, length = by_id[name], len(by_id[name].tokens_T)
        np.testing.assert_array_equal(batch.tokens_BT[row, :length], kept.tokens_T)
        assert (batch.tokens_BT[row, length:] == 256).all()
        assert batch.segment_ids_BT[row].tolist() == [1] * length + [0] * (16 - length)
        learned = np.flatnonzero(batch.loss_mask_BT[row])
        assert learned.tolist() == list(range(kept.prompt_length, length))
        assert batch.tokens_BT[row, learned[-1]] == 256


def test_a_step_before_the_first_is_refused():
    with pytest.raises(IndexError, match="steps count from 0; got -1"):
        batches()[-1]


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_out_of_range_is_refused(seed):
    with pytest.raises(UserError, match=f"the seed {seed} is out of range"):
        batches(seed=seed)


GOLDEN = ("x-7", "x-9", "x-0", "x-8")


def seen(made: Batches, steps: int) -> tuple[int, ...]:
    return tuple(sorted({made[step].tokens_BT.shape[1] for step in range(steps)}))


@EVERY_KIND
@pytest.mark.parametrize("batch_size", [3, 4])
def test_the_widths_are_those_that_the_batches_have(batching, widths, batch_size):
    made = mixed(batching, widths, batch_size=batch_size)
    for steps in (1, 2, 7, 13):
        assert made.widths(steps) == seen(made, steps)


def test_the_widths_of_many_steps_are_told_without_shuffling_all_their_epochs():
    # twelve rows of three lengths, of which a batch of eight may hold any
    rows = [example("?" * (1 + 12 * (n % 3)), name=f"f-{n}") for n in range(12)]
    few = tokenize(rows, Renderer(TEMPLATE), load_tokenizer("bundled:bytes", chat="none"), 64, "error")
    made = Batches(
        [Weighted(few.kept)],
        seed=7,
        batch_size=8,
        max_tokens=64,
        pad_id=256,
        batching="buckets",
        bucket_widths=(16, 28, 40),
    )
    shuffled = []
    see = made._sorted_window
    made._window = lambda *window: shuffled.append(window) or see(*window)
    # that eight of the narrowest come together is the chance of one window in 495
    assert made.widths(100_000) == (16, 28, 40)
    assert len(shuffled) < 10
    assert seen(made, 20) == (28, 40)


@given(
    counts=st.lists(st.integers(0, 4), min_size=2, max_size=4).filter(lambda counts: sum(counts) > 1),
    batch_size=st.integers(1, 6),
    windows=st.integers(0, 9),
    seed=st.integers(0, 2**32 - 1),
)
def test_no_shuffle_gives_a_width_that_could_not_come(counts, batch_size, windows, seed):
    rows = sum(counts)
    size = -(-rows // batch_size) * batch_size
    bucket_R = np.repeat(np.arange(len(counts)), counts)
    draw = np.random.default_rng(seed)
    epochs = np.concatenate([draw.permutation(bucket_R) for _ in range((windows + 2) * size // rows + 2)])
    taken = np.sort(epochs[windows * size : (windows + 1) * size])
    ends = set(taken[batch_size - 1 :: batch_size].tolist())
    assert ends <= may_close(np.array(counts), batch_size, start=windows * size % rows, size=size)


def test_a_width_that_no_order_gives_is_not_expected():
    # eight rows in batches of four, all of an epoch: three narrow rows never fill one
    assert may_close(np.array([3, 5]), 4, start=0, size=8) == {1}
    assert may_close(np.array([4, 4]), 4, start=0, size=8) == {0, 1}


def test_the_loss_mask_is_what_each_example_learns():
    first, second = TOKENIZED.kept[:2]
    odd = replace(first, learnt_T=np.arange(len(first.tokens_T)) % 2 == 1)
    batch = laid_out([(odd, second)], (), width=32, pad_id=0)
    marks = [*odd.learnt_T, *second.learnt_T]
    assert batch.loss_mask_BT[0].tolist() == marks + [False] * (32 - len(marks))


# Three sets of other sizes, the smallest with most of the rows.
PARTS = {"one": (MIXED.kept, 2.0), "two": (TOKENIZED.kept, 5.0), "three": (MIXED.kept, 1.0)}


def mixture(batching: Any, widths: Any, *, batch_size: int = 4, seed: int = 7, names=tuple(PARTS)) -> Batches:
    return Batches(
        [Weighted(PARTS[name][0], name, PARTS[name][1]) for name in names],
        seed=seed,
        batch_size=batch_size,
        max_tokens=64,
        pad_id=256,
        batching=batching,
        bucket_widths=widths,
    )


@EVERY_KIND
def test_a_mixture_has_its_shares_of_the_rows_and_any_step_can_be_asked_first(batching, widths):
    straight = mixture(batching, widths)
    steps = math.ceil(sum(part.rows for part in straight.statistics().sets.values()) / 4)
    batches = [straight[step] for step in range(2 * steps)]  # two windows of buckets
    set_R = np.concatenate([batch.set_B for batch in batches])
    for number, share in enumerate((2 / 8, 5 / 8, 1 / 8)):
        assert abs((set_R == number).sum() - share * len(set_R)) < 1.5
    for step in (5, 2 * steps - 1, 0):
        assert equal(mixture(batching, widths)[step], batches[step])
    assert not equal(mixture(batching, widths, seed=8)[0], batches[0])


@EVERY_KIND
def test_a_row_of_a_mixture_is_of_one_set_and_each_set_is_gone_through_evenly(batching, widths):
    made, seen_of = mixture(batching, widths, names=("one", "two")), {0: Counter(), 1: Counter()}
    for step in range(60):
        batch = made[step]
        names = iter(batch.example_ids)
        for of, segment_ids_T in zip(batch.set_B.tolist(), batch.segment_ids_BT, strict=True):
            held = [next(names) for _ in range(segment_ids_T.max())]
            assert {name[0] for name in held} == {"mx"[of]}
            seen_of[of].update(held)
    for of, count in ((0, 37), (1, 10)):
        assert len(seen_of[of]) == count
        if batching != "buckets":  # a window's last batches hold rows back
            assert max(seen_of[of].values()) - min(seen_of[of].values()) <= 1


def test_a_set_s_own_order_does_not_depend_on_the_others():
    def order(*names: str) -> list[str]:
        drawn = ids(mixture("padded", None, names=names), 60)
        return [name for name in drawn if name.startswith("x")][:20]

    assert order("one", "two") == order("two", "three") == order(*PARTS)


def test_two_sets_of_as_many_rows_are_shuffled_apart():
    made = mixture("padded", None, names=("one", "three"))
    seen_of = {0: [], 1: []}
    for step in range(40):
        batch = made[step]
        for of, name in zip(batch.set_B.tolist(), batch.example_ids, strict=True):
            seen_of[of].append(name)
    assert seen_of[0][:30] != seen_of[1][:30]


@EVERY_KIND
def test_the_statistics_of_a_mixture_are_those_of_as_many_rows_as_its_sets_have(batching, widths):
    made = mixture(batching, widths)
    said = made.statistics()
    rows = sum(part.rows for part in said.sets.values())
    batches = [made[step] for step in range(math.ceil(rows / 4))]
    assert said.batches_of_width == Counter(batch.tokens_BT.shape[1] for batch in batches)
    real = sum((batch.segment_ids_BT > 0).sum() for batch in batches)
    assert said.utilisation == pytest.approx(real / sum(batch.tokens_BT.size for batch in batches))
    assert [part.share for part in said.sets.values()] == [0.25, 0.625, 0.125]
    assert said.steps_per_epoch == max(part.steps_per_pass for part in said.sets.values())
    two = said.sets["two"]
    assert two.steps_per_pass == two.rows / 0.625 / 4
    assert made.statistics().sets.keys() == PARTS.keys()
    assert mixed(batching, widths).statistics().sets == {}


@pytest.mark.parametrize("widths", [3, (24, 40, 99)])
def test_the_widths_of_a_mixture_are_those_that_its_batches_have(widths):
    made = mixture("buckets", widths)
    for steps in (1, 2, 7, 30):
        assert made.widths(steps) == seen(made, steps)
    assert set(seen(made, 200)) <= set(made.widths(10**6))


def staged(batching: Any, widths: Any, stages: dict[str, int]) -> Batches:
    return Batches(
        [Weighted(PARTS[name][0], name, None, steps) for name, steps in stages.items()],
        seed=7,
        batch_size=4,
        max_tokens=64,
        pad_id=256,
        batching=batching,
        bucket_widths=widths,
    )


@EVERY_KIND
def test_a_stage_has_its_steps_and_no_batch_has_rows_of_two(batching, widths):
    stages = {"one": 13, "two": 5, "three": 11}
    made = staged(batching, widths, stages)
    batches = [made[step] for step in range(29)]
    assert [set(batch.set_B.tolist()) for batch in batches] == [{0}] * 13 + [{1}] * 5 + [{2}] * 11
    for step in (28, 0, 13, 17):
        assert equal(staged(batching, widths, stages)[step], batches[step])
    told = made.statistics()
    assert (told.steps_per_epoch, sum(told.batches_of_width.values())) == (29, 29)
    assert [part.stage for part in told.sets.values()] == [(1, 13), (14, 18), (19, 29)]
    seen = Counter(batch.tokens_BT.shape[1] for batch in batches)
    assert told.batches_of_width == dict(sorted(seen.items()))
    assert made.widths(29) == tuple(sorted(seen))
    assert set(made.widths(13)) == {batch.tokens_BT.shape[1] for batch in batches[:13]}
    tokens = sum(int((batch.segment_ids_BT > 0).sum()) for batch in batches)
    assert told.utilisation == tokens / sum(batch.tokens_BT.size for batch in batches)


def test_a_stage_begins_with_an_epoch_of_its_own():
    made = staged("padded", None, {"two": 2, "one": 10})
    names = ids(made, 12)
    assert len(set(names[:8])) == 8
    assert len(set(names[8:45])) == 37
