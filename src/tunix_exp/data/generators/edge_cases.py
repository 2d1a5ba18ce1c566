"""The ten edge cases of `dev-reasoning-v2`: unusual shapes of prompt or answer, each twice."""

import random
from collections.abc import Sequence

from tunix_exp.data.generators.traces import Problem


def _loaves(draw: random.Random, days: int) -> Problem:
    """A long prompt whose question comes last."""
    sold = [draw.randint(2, 9) for _ in range(days)]
    half = days // 2
    told = " ".join(f"On day {day} the baker sold {count} loaves." for day, count in enumerate(sold, start=1))
    first, second = sum(sold[:half]), sum(sold[half:])
    early, late = (" + ".join(map(str, part)) for part in (sold[:half], sold[half:]))
    return Problem(
        f"{told} How many loaves did the baker sell in all?",
        (
            ("process", f"Days 1 to {half}: {early} = {first}"),
            (
                "result",
                f"Days {half + 1} to {days}: {late} = {second}, and {first} + {second} = {first + second}",
            ),
        ),
        str(first + second),
    )


def edge_cases(draw: random.Random) -> dict[str, tuple[Problem, Problem]]:
    """Ten unusual shapes of prompt or answer, each twice."""

    def one(prompt: str, step: str, answer: str) -> Problem:
        return Problem(prompt, (("result", step),), answer)

    def two(prompt: str, first: str, second: str, answer: str) -> Problem:
        return Problem(prompt, (("process", first), ("result", second)), answer)

    def many(prompt: str, steps: Sequence[str], answer: str) -> Problem:
        return Problem(prompt, tuple(("calculation", step) for step in steps), answer)

    return {
        "minimal_steps": (
            one("Is 7 an odd number? Answer Yes or No.", "7 leaves 1 when divided by 2.", "Yes"),
            one("What is 10 + 0?", "10 + 0 = 10", "10"),
        ),
        "long_prompt": (_loaves(draw, 10), _loaves(draw, 13)),
        "special_chars": (
            two("What is the third character of '#@!%&'?", "In order: # @ ! % &", "The third is !", "!"),
            two("How many dollar signs are in 'a$b$c$'?", "One after a, b and c.", "1 + 1 + 1 = 3", "3"),
        ),
        "numbers_only": (
            two("7 + 8 + 9", "7 + 8 = 15", "15 + 9 = 24", "24"),
            two("40 - 15 - 5", "40 - 15 = 25", "25 - 5 = 20", "20"),
        ),
        "unicode": (
            two("How many letters has the word 'naïve'?", "The letters: n a ï v e", "That makes 5.", "5"),
            two("Reverse the string 'äöü'.", "From the last to the first: ü ö ä", "Joined: üöä", "üöä"),
        ),
        "whitespace_answer": (
            one("Write 'sun' and 'moon' with one blank between them.", "sun, a blank, moon", "sun moon"),
            one("Put a blank between the letters of 'abc'.", "a, a blank, b, a blank, c", "a b c"),
        ),
        "minimal_prompt": (one("2+3", "2 + 3 = 5", "5"), one("9-4", "9 - 4 = 5", "5")),
        "many_steps": (
            many(
                "Start at 1 and double the number six times. What comes out?",
                [f"{2**power} * 2 = {2 ** (power + 1)}" for power in range(6)],
                "64",
            ),
            many(
                "What is 1 + 2 + 3 + 4 + 5 + 6 + 7?",
                [f"{sum(range(1, last))} + {last} = {sum(range(1, last + 1))}" for last in range(2, 8)],
                "28",
            ),
        ),
        "punctuation": (
            two(
                "How many commas are in 'red, green, blue, and white'?",
                "One comma after red, one after green, one after blue.",
                "1 + 1 + 1 = 3",
                "3",
            ),
            two(
                "Which mark ends the sentence 'Where is it?'",
                "The last character is '?'.",
                "That is a question mark.",
                "?",
            ),
        ),
        "newlines": (
            two(
                "How many lines has this text?\none\ntwo\nthree",
                "The lines: one, two, three.",
                "That makes 3.",
                "3",
            ),
            two(
                "What is the last line of this text?\nalpha\nbeta",
                "The lines: alpha, beta.",
                "The last is beta.",
                "beta",
            ),
        ),
    }  # fmt: skip
