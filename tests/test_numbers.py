import pytest

from tunix_exp import numbers


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (numbers.percent(0.9533), "95.3 %"),
        (numbers.points(-0.051), "−5.1"),
        (numbers.points(0.051), "+5.1"),
        (numbers.points(-0.0001), "+0.0"),
        (numbers.interval_in_points((-0.051, 0.1)), "[−5.1, 10.0]"),
        (numbers.interval((-0.0001, 1.23456), 3), "[0.000, 1.235]"),
        (numbers.counted(1, "step"), "1 step"),
        (numbers.counted(1200, "step"), "1,200 steps"),
        (numbers.enumerated(["a"]), "a"),
        (numbers.enumerated(["a", "b", "c"]), "a, b and c"),
        (numbers.enumerated(["a", "b", "c", "d", "e"]), "a, b, c and 2 more"),
        (numbers.probability(0.00004), "<0.0001"),
        (numbers.probability(0.0312), "0.0312"),
        (numbers.figure(15540.5), "15,540"),
        (numbers.figure(0.000152), "0.000152"),
        (numbers.figure(0.0), "0"),
        (numbers.figure(2.34567), "2.346"),
        (numbers.count_of(1.2249e10), "1.22 × 10¹⁰"),
        (numbers.size(0), "0 B"),
        (numbers.size(1023), "1023 B"),
        (numbers.size(1024), "1.0 KiB"),
        (numbers.size(23.54 * 2**30), "23.5 GiB"),
        (numbers.size(3000 * 2**40), "3000.0 TiB"),
        (numbers.duration(4.25), "4.2 s"),
        (numbers.duration(115), "1 min 55 s"),
        (numbers.duration(7300), "2 h 01 min"),
        (numbers.written("adamw"), "adamw"),
        (numbers.written("a\nb"), '"a\\nb"'),
        (numbers.written(""), '""'),
        (numbers.written(None), "null"),
        (numbers.written([1, "x"]), '[1, "x"]'),
    ],
)
def test_a_number_has_the_digits_of_its_kind(text, expected):
    assert text == expected
