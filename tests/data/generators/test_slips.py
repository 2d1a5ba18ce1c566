"""Slips differ from the right trace where they say, by rules that share nothing with what made them."""

import random
from collections import Counter

import pytest

from tunix_exp.data.generators.awareness import dev_problem, is_held_out, nano_total
from tunix_exp.data.generators.questions import shown
from tunix_exp.data.generators.slips import KINDS, Slip, corrected, slip_between, slipped, verdict
from tunix_exp.scoring.equations import equations

STEPS = ("The speed is 60 km/h and the time is 5 hours.", "60 * 5 = 300", "The car covers 300 kilometers.")


def made(count: int) -> list[tuple[str, tuple[str, ...], Slip]]:
    """So many faulty traces of both generators, every kind as often; the question and the right steps."""
    draw, found = random.Random(7), []
    poses = (nano_total, dev_problem)
    while len(found) < count:
        posed, kind = poses[len(found) % 2](draw), KINDS[len(found) // 2 % len(KINDS)]
        if (slip := slipped(posed.steps, kind, draw)) is not None:
            found.append((posed.question, posed.steps, slip))
    return found


def test_2000_faulty_traces_differ_at_the_step_they_name_and_nowhere_else():
    faulty = made(2_000)
    assert Counter(slip.kind for _, _, slip in faulty) == dict.fromkeys(KINDS, 500)
    for question, steps, slip in faulty:
        place = slip.step - 1
        assert slip.right == steps[place]
        if slip.kind == "dropped":
            assert slip.steps == steps[:place] + steps[place + 1 :]
            assert steps[place] != "".join(slip.steps[place : place + 1])
        else:
            assert len(slip.steps) == len(steps)
            differ = [
                number
                for number, pair in enumerate(zip(slip.steps, steps, strict=True))
                if len(set(pair)) > 1
            ]
            assert differ == [place]
        # and by the question alone it is found again
        again = shown("\n".join((question, *slip.steps)))
        assert again is not None
        assert again.slip == slip


def test_a_slip_is_of_its_kind_by_the_numbers_in_it():
    for _, _, slip in made(400):
        if slip.kind == "dropped":
            continue
        wrong, right = slip.steps[slip.step - 1], slip.right
        said, due = list(equations(wrong)), list(equations(right))
        numbers = [[one for one in text if one.isdigit()] for text in (wrong, right)]
        if slip.kind == "unit":
            assert numbers[0] == numbers[1]
            continue
        assert all(one.is_true for one in due)
        changed = [pair for pair in zip(said, due, strict=True) if pair[0] != pair[1]]
        assert len(changed) == 1
        ((found, expected),) = changed
        if slip.kind == "arithmetic":
            assert (found.is_true, sorted(found.operands)) == (False, sorted(expected.operands))
        else:
            assert found.is_true
            assert sorted(found.operands) != sorted(expected.operands)


def test_what_has_no_place_for_a_slip_has_none():
    draw = random.Random(0)
    assert slipped(("c a t", "t a c"), "arithmetic", draw) is None
    assert slipped(("c a t", "t a c"), "copied", draw) is None
    assert slipped(("7+2=9",), "unit", draw) is None
    assert slipped(("7+2=9",), "dropped", draw) is None
    assert slipped(("1+1=2", "1+1=2"), "dropped", draw) is None


@pytest.mark.parametrize(("shown_steps", "kind", "step"), [
    (("The speed is 60 m/s and the time is 5 hours.", *STEPS[1:]), "unit", 1),
    ((STEPS[0], "60 * 5 = 310", STEPS[2]), "arithmetic", 2),
    ((STEPS[0], "60 * 6 = 360", STEPS[2]), "copied", 2),
    ((STEPS[0], STEPS[2]), "dropped", 2),
])  # fmt: skip
def test_a_slip_is_recognised_by_what_is_shown(shown_steps, kind, step):
    slip = slip_between(shown_steps, STEPS)
    assert slip is not None
    assert (slip.kind, slip.step, slip.right) == (kind, step, STEPS[step - 1])


@pytest.mark.parametrize("shown_steps", [
    STEPS,
    ("The speed is 60 m/s and the time is 5 hours.", "60 * 5 = 310", STEPS[2]),
    STEPS[:1],
    (*STEPS, "So it is."),
])  # fmt: skip
def test_no_slip_or_more_than_one_is_none(shown_steps):
    assert slip_between(shown_steps, STEPS) is None


def test_one_of_equal_neighbours_that_is_missing_is_not_told_from_the_other():
    assert slip_between(("1+1=2",), ("1+1=2", "1+1=2")) is None


def test_the_verdict_names_the_step_and_what_is_right_there():
    slip = slip_between((STEPS[0], "60 * 5 = 310", STEPS[2]), STEPS)
    assert verdict(slip) == "slip in step 2: 60 * 5 = 300"
    assert verdict(slip_between((STEPS[0], STEPS[2]), STEPS)) == "step 2 is missing: 60 * 5 = 300"
    assert verdict(None) == "no slip"


def test_a_correction_cites_the_calculation_and_what_it_was_said_to_be():
    right = "5 * 40 = 200, and 200 / 100 = 2"
    assert corrected(right, "5 * 40 = 210, and 200 / 100 = 2") == "5 * 40 = 200, not 210"
    assert corrected(right, "5 * 40 = 200, and 200 / 100 = 3") == "200 / 100 = 2, not 3"
    with pytest.raises(ValueError, match="differ in no result"):
        corrected(right, right)


def test_all_ways_to_ask_a_question_are_on_one_side_of_the_hash():
    draw, sides = random.Random(3), {}
    for _ in range(3_000):
        posed = nano_total(draw)
        numbers = tuple(sorted(int(one) for one in posed.question.split() if one.isdigit()))
        sides.setdefault((numbers, posed.answer), set()).add(is_held_out(posed.key))
    assert max(map(len, sides.values())) == 1
    assert 0.05 < sum(True in side for side in sides.values()) / len(sides) < 0.2
