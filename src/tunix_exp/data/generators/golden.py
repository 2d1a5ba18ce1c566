"""The two golden sets: small, plain, and easy to check by eye."""

import random
from collections.abc import Callable
from typing import Any

from tunix_exp.data.generators import held_out
from tunix_exp.data.generators.traces import Problem, distinct, trace

_FRUITS = (
    "apple", "banana", "cherry", "date", "elderberry", "fig", "grape", "kiwi",
    "lemon", "mango", "melon", "olive", "orange", "peach", "pear", "plum",
)  # fmt: skip

V1 = {
    "basic_math": Problem("What is 2 + 2?", (("calculation", "2 + 2 = 4"),), "4"),
    "knowledge": Problem(
        "What is the capital of France?", (("recall", "The capital of France is Paris."),), "Paris"
    ),
    "normalization": Problem(
        "Write this in lower case, with single blanks:   HeLLo   WoRLD  ",
        (
            ("process", "Without the blanks around it and with single blanks inside: HeLLo WoRLD"),
            ("process", "In lower case: hello world"),
        ),
        "hello world",
    ),
    "format": Problem(
        "Write the numbers 3, 1 and 2 in rising order, with commas between.",
        (("process", "From the smallest to the largest: 1, then 2, then 3."),),
        "1, 2, 3",
    ),
    "boolean": Problem(
        "Is 7 greater than 5? Answer yes or no.",
        (("comparison", "7 - 5 = 2 is above zero, so 7 is greater."),),
        "yes",
    ),
}


def v1_rows() -> list[dict[str, Any]]:
    """Five rows, one for each case."""
    return [trace(problem, {"golden": "v1", "case": case}) for case, problem in V1.items()]


def v2_rows() -> list[dict[str, Any]]:
    """A hundred rows: fifty sums of two numbers up to 100, fifty words repeated two to five times."""
    draw = random.Random(42)
    cases: dict[str, Callable[[], Problem]] = {
        "math_gen": lambda: sum_of_two(draw.randint(1, 100), draw.randint(1, 100)),
        "text_gen": lambda: repeated(draw.choice(_FRUITS), draw.randint(2, 5)),
    }
    problems = [
        (case, problem) for case, make in cases.items() for problem in distinct(make, 50, held_out.prompts())
    ]
    return [
        trace(problem, {"golden": "v2", "case": case, "idx": index})
        for index, (case, problem) in enumerate(problems)
    ]


def sum_of_two(left: int, right: int) -> Problem:
    """The sum in one step."""
    total = left + right
    return Problem(
        f"What is {left} + {right}?", (("calculation", f"{left} + {right} = {total}"),), str(total)
    )


def repeated(word: str, times: int) -> Problem:
    """The word so many times, with blanks between."""
    counted = ", ".join(f"{number} {word}" for number in range(1, times + 1))
    return Problem(
        f"Repeat the word '{word}' {times} times.",
        (("reasoning", f"Counting: {counted}."),),
        " ".join([word] * times),
    )
