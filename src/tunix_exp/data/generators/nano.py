"""The default pair: `nano-reasoning` to train on, `nano-eval` held out from it.

Three tasks that a model of 0.6M parameters learns within two minutes on two cores, each with the steps
that make it learnable: addition by columns with carries, saying a word several times, reversing a word.
Every example fits 48 byte tokens, end token included, because on a CPU padding is time.
"""

import random
from collections.abc import Callable
from typing import Any, NamedTuple

from tunix_exp.data.generators.words import COMMON, invent

TRAIN_ROWS = 6_000
EVAL_ROWS = {"core": 180, "trace_sensitive": 80, "edge_case": 40}
_TRAINING_MIX = (0.7, 0.15, 0.15)
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
UNITS = ("cm", "m", "kg", "g")
TOTALS = (
    "{left} {unit} + {right} {unit}",
    "{left} {unit} and {right} {unit}",
    "{right} {unit} after {left} {unit}",
)
# The longest word that still fits 48 tokens when it is said so many times.
_LONGEST_SAID = {2: 4, 3: 4, 4: 3}


class Problem(NamedTuple):
    """One question with its worked steps."""

    category: str
    difficulty: str
    question: str
    steps: tuple[str, ...]
    answer: str


def add(left: int, right: int) -> Problem:
    """The sum by columns from the right; a column that takes a carry adds it as `+1`."""
    steps: list[str] = []
    carry = 0
    carries = 0
    a, b = left, right
    while a or b or not steps:
        total = a % 10 + b % 10 + carry
        steps.append(f"{a % 10}+{b % 10}{'+1' if carry else ''}={total}")
        carry = total // 10
        carries += carry
        a, b = a // 10, b // 10
    difficulty = ("easy", "medium", "hard")[carries]
    return Problem("addition", difficulty, f"Add {left} and {right}", tuple(steps), str(left + right))


def total(left: int, right: int, unit: str, wording: int) -> Problem:
    """The sum of two amounts of one unit, asked for in one of several ways."""
    sum_ = add(left, right)
    amount = f"{left + right} {unit}"
    question = TOTALS[wording].format(left=left, right=right, unit=unit)
    return Problem("total", sum_.difficulty, question, (*sum_.steps, amount), amount)


def repeat(word: str, times: int) -> Problem:
    """The word so many times, spelled out first."""
    difficulty = {2: "easy", 3: "medium", 4: "hard"}[times]
    steps = (" ".join(word),)
    return Problem("repetition", difficulty, f"Say {word} {times} times", steps, " ".join([word] * times))


def reverse(word: str) -> Problem:
    """The word backwards: spelled out, then spelled from its end."""
    difficulty = "easy" if len(word) <= 3 else "medium" if len(word) == 4 else "hard"
    steps = (" ".join(word), " ".join(reversed(word)))
    return Problem("reversal", difficulty, f"Reverse {word}", steps, word[::-1])


def _word(draw: random.Random, shortest: int, longest: int) -> str:
    """Half of the words are common, half invented: copying must not hang on having seen the word."""
    length = draw.randint(shortest, longest)
    common = [word for word in COMMON if len(word) == length]
    return draw.choice(common) if common and draw.random() < 0.5 else invent(draw, length)


def _core(draw: random.Random) -> Problem:
    """An everyday problem of any of the three tasks."""
    task = draw.choice(("addition", "repetition", "reversal"))
    if task == "addition":
        return add(draw.randint(10, 99), draw.randint(10, 99))
    if task == "repetition":
        times = draw.randint(2, 4)
        return repeat(_word(draw, 3, _LONGEST_SAID[times]), times)
    return reverse(_word(draw, 3, 5))


def _trace_sensitive(draw: random.Random) -> Problem:
    """A problem whose answer hangs on every step: carries in both columns, or a long word backwards."""
    if draw.random() < 0.6:
        while True:
            problem = add(draw.randint(11, 99), draw.randint(11, 99))
            if problem.difficulty == "hard":
                return problem
    return reverse(_word(draw, 5, 5))


def _edge_case(draw: random.Random) -> Problem:
    """What is rare but regular: zeros, equal digits, round sums, two-letter words, palindromes."""
    task = draw.choice(("zero", "equal digits", "round sum", "letters", "palindrome"))
    if task == "zero":
        pair = [10 * draw.randint(1, 9), draw.randint(10, 99)]
        draw.shuffle(pair)
        return add(*pair)
    if task == "equal digits":
        return add(11 * draw.randint(1, 9), 11 * draw.randint(1, 9))
    if task == "round sum":
        left = draw.randint(10, 90)
        return add(left, 100 - left)
    if task == "letters":
        pair_of_letters = draw.choice(_LETTERS) + draw.choice(_LETTERS)
        made: list[Callable[[], Problem]] = [
            lambda: repeat(pair_of_letters, draw.randint(2, 4)),
            lambda: reverse(pair_of_letters),
        ]
        return draw.choice(made)()
    half = invent(draw, 2)
    return reverse(half + half[::-1])


_SECTIONS = {"core": _core, "trace_sensitive": _trace_sensitive, "edge_case": _edge_case}


def eval_rows() -> list[dict[str, Any]]:
    """The held-out items: 300, by section, no question twice."""
    draw = random.Random(20_001)
    rows: list[dict[str, Any]] = []
    seen: set[str] = set()
    for section, wanted in EVAL_ROWS.items():
        kept = 0
        while kept < wanted:
            problem = _SECTIONS[section](draw)
            if problem.question in seen:
                continue
            seen.add(problem.question)
            kept += 1
            rows.append(
                {
                    "id": f"nano-eval-{len(rows) + 1:03d}",
                    "prompt": problem.question,
                    "expected_answer": problem.answer,
                    "section": section,
                    "category": problem.category,
                    "difficulty": problem.difficulty,
                    "steps": list(problem.steps),
                }
            )
    return rows


def train_rows() -> list[dict[str, Any]]:
    """The training rows: distinct questions, none of them held out."""
    draw = random.Random(20_002)
    seen = {row["prompt"] for row in eval_rows()}
    rows: list[dict[str, Any]] = []
    while len(rows) < TRAIN_ROWS:
        section = draw.choices(list(_SECTIONS), weights=_TRAINING_MIX)[0]
        problem = _SECTIONS[section](draw)
        if problem.question in seen:
            continue
        seen.add(problem.question)
        rows.append(
            {
                "id": f"nano-{len(rows) + 1:04d}",
                "question": problem.question,
                "steps": list(problem.steps),
                "answer": problem.answer,
                "category": problem.category,
                "difficulty": problem.difficulty,
            }
        )
    return rows
