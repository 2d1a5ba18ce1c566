"""`dev-reasoning-v1` and `-v2`: worked problems of many kinds, each answer computed, each step true."""

import random
from collections.abc import Callable, Sequence
from typing import Any

from tunix_exp.data.generators import held_out
from tunix_exp.data.generators.edge_cases import edge_cases
from tunix_exp.data.generators.traces import Problem, distinct, in_decimals, trace
from tunix_exp.data.generators.words import COMMON

Make = Callable[[random.Random], Problem]

_SEED = 42


def _distance(draw: random.Random) -> Problem:
    speed, hours = 5 * draw.randint(4, 24), draw.randint(2, 9)
    vehicle = draw.choice(("car", "train", "bus", "truck"))
    total = speed * hours
    return Problem(
        f"A {vehicle} drives at {speed} km/h for {hours} hours. How many kilometers does it cover?",
        (
            ("setup", f"The speed is {speed} km/h and the time is {hours} hours."),
            ("formula", "The distance is the speed times the time."),
            ("calculation", f"{speed} * {hours} = {total}"),
            ("answer", f"The {vehicle} covers {total} kilometers."),
        ),
        str(total),
    )


def _percentage(draw: random.Random) -> Problem:
    percent, whole = 5 * draw.randint(1, 19), 20 * draw.randint(2, 40)
    part = percent * whole // 100
    return Problem(
        f"What is {percent}% of {whole}?",
        (
            ("formula", f"{percent}% of {whole} is {percent} * {whole} / 100."),
            ("calculation", f"{percent} * {whole} = {percent * whole}, and {percent * whole} / 100 = {part}"),
            (
                "verification",
                f"{part} / {whole} = {in_decimals(percent)}, and {in_decimals(percent)} is {percent}%.",
            ),
        ),
        str(part),
    )


def _unit_cost(draw: random.Random) -> Problem:
    # Counts that divide a dollar into whole cents, so that every price is exact.
    count, total = draw.choice((2, 4, 5, 8, 10, 20)), draw.randint(12, 240)
    if count == 8:
        total = 2 * total
    price = in_decimals(100 * total // count)
    return Problem(
        f"{count} items cost ${total} in total. What does one item cost, in dollars?",
        (
            ("setup", f"The total is {total} dollars for {count} items."),
            ("formula", "The cost of one item is the total divided by the number of items."),
            ("calculation", f"{total} / {count} = {price}"),
            ("answer", f"One item costs {price} dollars."),
        ),
        price,
    )


def _addition(draw: random.Random) -> Problem:
    left, right = draw.randint(10, 99), draw.randint(10, 99)
    ones, carry = left % 10 + right % 10, (left % 10 + right % 10) // 10
    tens = left // 10 + right // 10 + carry
    carried = f", write {ones % 10} and carry 1" if carry else ""
    return Problem(
        f"What is {left} + {right}?",
        (
            ("setup", f"Add the ones, then the tens of {left} and {right}."),
            ("calculation", f"Ones: {left % 10} + {right % 10} = {ones}{carried}"),
            ("calculation", f"Tens: {left // 10} + {right // 10}{' + 1' if carry else ''} = {tens}"),
            ("answer", f"{left} + {right} = {left + right}"),
        ),
        str(left + right),
    )


def _subtraction(draw: random.Random) -> Problem:
    left, right = draw.randint(10, 99), draw.randint(10, 99)
    large, small = max(left, right), min(left, right)
    ones, tens = large % 10 - small % 10, large // 10 - small // 10
    if ones < 0:
        ones_step = (
            f"Ones: {large % 10} - {small % 10} needs a ten: {large % 10 + 10} - {small % 10} = {ones + 10}"
        )
        tens_step = f"Tens: {large // 10} - 1 - {small // 10} = {tens - 1}"
    else:
        ones_step = f"Ones: {large % 10} - {small % 10} = {ones}"
        tens_step = f"Tens: {large // 10} - {small // 10} = {tens}"
    if left >= right:
        setup = f"Subtract the ones, then the tens of {right} from {left}."
        answer = f"{left} - {right} = {left - right}"
    else:
        setup = f"{right} is larger than {left}, so compute {right} - {left} and put a minus in front."
        answer = f"{right} - {left} = {right - left}, so {left} - {right} = {left - right}"
    return Problem(
        f"What is {left} - {right}?",
        (("setup", setup), ("calculation", ones_step), ("calculation", tens_step), ("answer", answer)),
        str(left - right),
    )


def _multiplication(draw: random.Random) -> Problem:
    left, right = draw.randint(11, 99), draw.randint(3, 9)
    tens, ones = left // 10 * 10, left % 10
    return Problem(
        f"What is {left} * {right}?",
        (
            ("setup", f"{left} is {tens} + {ones}."),
            ("calculation", f"{tens} * {right} = {tens * right}"),
            ("calculation", f"{ones} * {right} = {ones * right}"),
            ("answer", f"{tens * right} + {ones * right} = {left * right}"),
        ),
        str(left * right),
    )


def _arithmetic(draw: random.Random) -> Problem:
    first, second, third = draw.randint(10, 60), draw.randint(2, 40), draw.randint(2, 30)
    sum_ = first + second
    return Problem(
        f"Compute {first} + {second} - {third}.",
        (
            ("process", f"From left to right: {first} + {second} = {sum_}"),
            ("result", f"{sum_} - {third} = {sum_ - third}"),
        ),
        str(sum_ - third),
    )


def _string_reverse(draw: random.Random) -> Problem:
    word = draw.choice([word for word in COMMON if word != word[::-1]])
    return Problem(
        f"Reverse the string '{word}'.",
        (
            ("process", f"The letters from the last to the first: {' '.join(word[::-1])}"),
            ("result", f"Joined: {word[::-1]}"),
        ),
        word[::-1],
    )


def _string_sort(draw: random.Random) -> Problem:
    letters = "".join(draw.sample("ABCDEFGHIJKLMNOPQRSTUVWXYZ", draw.randint(4, 6)))
    in_order = "".join(sorted(letters))
    return Problem(
        f"Sort the letters '{letters}' in alphabetical order.",
        (
            ("process", f"In the order of the alphabet: {' '.join(in_order)}"),
            ("result", f"Joined: {in_order}"),
        ),
        in_order,
    )


# Members; their kind in singular and plural; what the kind does, and what it never does.
_KINDS: tuple[tuple[tuple[str, ...], str, str, tuple[str, ...], tuple[str, ...]], ...] = (
    (("robin", "sparrow", "eagle", "owl"), "bird", "birds", ("have feathers", "lay eggs"), ("have fur",)),
    (("cat", "horse", "otter"), "mammal", "mammals", ("breathe air",), ("have gills", "have feathers")),
    (("trout", "salmon", "carp"), "fish", "fish", ("have gills", "live in water"), ("have feathers",)),
    (("ant", "beetle", "wasp", "moth"), "insect", "insects", ("have six legs",), ("have a backbone",)),
    (("square", "rhombus"), "quadrilateral", "quadrilaterals", ("have four sides",), ("have five corners",)),
    (("violin", "cello"), "string instrument", "string instruments", ("have strings",), ("have a reed",)),
)


def _logic(draw: random.Random) -> Problem:
    members, kind, plural, always, never = draw.choice(_KINDS)
    subject = _with_article(draw.choice(members))
    is_so = draw.random() < 0.5
    trait = draw.choice(always if is_so else never)
    return Problem(
        f"{'All' if is_so else 'No'} {plural} {trait}. {_capital(subject)} is {_with_article(kind)}. "
        f"Does {subject} {trait}? Answer Yes or No.",
        (
            ("process", f"{_capital(subject)} is one of the {plural}, and the rule speaks of all of them."),
            ("result", f"So {subject} {'does' if is_so else 'does not'} {trait}."),
        ),
        "Yes" if is_so else "No",
    )


def _with_article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _text_repeat(draw: random.Random) -> Problem:
    word, times = draw.choice(COMMON), draw.randint(2, 5)
    return Problem(
        f"Write the word '{word}' {times} times, with blanks between.",
        (
            ("process", f"Counting: {', '.join(f'{number} {word}' for number in range(1, times + 1))}"),
            ("result", " ".join([word] * times)),
        ),
        " ".join([word] * times),
    )


def _word_count(draw: random.Random) -> Problem:
    words = draw.sample(COMMON, draw.randint(3, 7))
    return Problem(
        f"How many words are in '{' '.join(words)}'?",
        (
            (
                "process",
                f"Counting: {', '.join(f'{number} {word}' for number, word in enumerate(words, start=1))}",
            ),
            ("result", f"The last number is {len(words)}."),
        ),
        str(len(words)),
    )


def _uppercase(draw: random.Random) -> Problem:
    words = " ".join(draw.sample(COMMON, 2))
    return Problem(
        f"Write '{words}' in upper case.",
        (
            ("process", f"Letter by letter: {' '.join(words.replace(' ', '').upper())}"),
            ("result", f"With the blank between the words: {words.upper()}"),
        ),
        words.upper(),
    )


_TEMPLATES: tuple[Make, ...] = (
    _distance,
    _percentage,
    _unit_cost,
    _addition,
    _subtraction,
    _multiplication,
)
_V1_TASKS: dict[str, tuple[Make, int]] = {
    "arithmetic": (_arithmetic, 23),
    "logic": (_logic, 20),
    "string_reverse": (_string_reverse, 17),
}
_V2_TASKS: dict[str, tuple[Make, int]] = {
    "arithmetic": (_arithmetic, 28),
    "string_reverse": (_string_reverse, 28),
    "string_sort": (_string_sort, 27),
    "logic": (_logic, 27),
}
_V2_GOLDEN: dict[str, tuple[Make, int]] = {
    "text_repeat": (_text_repeat, 12),
    "word_count": (_word_count, 12),
    "uppercase": (_uppercase, 11),
}


def v1_rows() -> list[dict[str, Any]]:
    """Two hundred rows: 140 worked problems of three templates, 60 short tasks."""
    name = "dev-reasoning-v1"
    rows = [
        trace(problem, {"source": name, "category": "reasoning", "template_id": number, "seed": _SEED})
        for number, problem in _by_template(random.Random(_SEED), _TEMPLATES[:3], 140)
    ]
    tasks = _by_task(random.Random(_SEED + 1000), _V1_TASKS)
    rows += [
        trace(problem, {"source": name, "category": "synthetic", "task_type": task, "seed": _SEED})
        for task, problem in tasks
    ]
    return rows


def v2_rows() -> list[dict[str, Any]]:
    """Five hundred and fifty rows of four categories, shuffled; `meta.index` is the place in the file."""
    parts: list[tuple[str, str, int | str, Problem]] = []
    for number, problem in _by_template(random.Random(_SEED), _TEMPLATES, 385):
        parts.append(("reasoning", "template_id", number, problem))
    for task, problem in _by_task(random.Random(_SEED + 1000), _V2_TASKS):
        parts.append(("synthetic", "task_type", task, problem))
    for task, problem in _by_task(random.Random(_SEED + 2000), _V2_GOLDEN):
        parts.append(("golden_style", "task_type", task, problem))
    for case, problems in edge_cases(random.Random(_SEED + 3000)).items():
        parts += [("edge_case", "case_type", case, problem) for problem in problems]
    random.Random(_SEED).shuffle(parts)
    return [
        trace(
            problem,
            {
                "dataset": "dev-reasoning-v2",
                "generator": "tunix_exp.data.generators.dev_reasoning",
                "seed": _SEED,
                "category": category,
                sub_key: kind,
                "index": index,
            },
        )
        for index, (category, sub_key, kind, problem) in enumerate(parts)
    ]


def _by_template(draw: random.Random, templates: Sequence[Make], count: int) -> list[tuple[int, Problem]]:
    """The templates by turns, each named by its own number."""
    share, more = divmod(count, len(templates))
    return [
        (number, problem)
        for number, make in enumerate(templates)
        for problem in distinct(lambda make=make: make(draw), share + (number < more), held_out.prompts())
    ]


def _by_task(draw: random.Random, tasks: dict[str, tuple[Make, int]]) -> list[tuple[str, Problem]]:
    return [
        (task, problem)
        for task, (make, count) in tasks.items()
        for problem in distinct(lambda make=make: make(draw), count, held_out.prompts())
    ]
