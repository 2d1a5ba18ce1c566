"""`dev-reasoning-v1` and `-v2`: worked problems of many kinds, each answer computed, each step true."""

import random
from collections.abc import Callable, Sequence
from typing import Any

from tunix_exp.data.generators import dev_problems, held_out
from tunix_exp.data.generators.edge_cases import edge_cases
from tunix_exp.data.generators.traces import Problem, distinct, trace
from tunix_exp.data.generators.words import COMMON

Make = Callable[[random.Random], Problem]

_SEED = 42


def _distance(draw: random.Random) -> Problem:
    speed, hours = 5 * draw.randint(4, 24), draw.randint(2, 9)
    return dev_problems.distance(draw.choice(("car", "train", "bus", "truck")), speed, hours)


def _percentage(draw: random.Random) -> Problem:
    return dev_problems.percentage(5 * draw.randint(1, 19), 20 * draw.randint(2, 40))


def _unit_cost(draw: random.Random) -> Problem:
    # Counts that divide a dollar into whole cents, so that every price is exact.
    count, total = draw.choice((2, 4, 5, 8, 10, 20)), draw.randint(12, 240)
    return dev_problems.unit_cost(count, 2 * total if count == 8 else total)


def _addition(draw: random.Random) -> Problem:
    return dev_problems.addition(draw.randint(10, 99), draw.randint(10, 99))


def _subtraction(draw: random.Random) -> Problem:
    return dev_problems.subtraction(draw.randint(10, 99), draw.randint(10, 99))


def _multiplication(draw: random.Random) -> Problem:
    return dev_problems.multiplication(draw.randint(11, 99), draw.randint(3, 9))


def _arithmetic(draw: random.Random) -> Problem:
    return dev_problems.arithmetic(draw.randint(10, 60), draw.randint(2, 40), draw.randint(2, 30))


def _string_reverse(draw: random.Random) -> Problem:
    return dev_problems.string_reverse(draw.choice([word for word in COMMON if word != word[::-1]]))


def _string_sort(draw: random.Random) -> Problem:
    letters = draw.sample("ABCDEFGHIJKLMNOPQRSTUVWXYZ", draw.randint(4, 6))
    return dev_problems.string_sort("".join(letters))


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
    member = draw.choice(members)
    is_so = draw.random() < 0.5
    return dev_problems.logic(plural, kind, member, draw.choice(always if is_so else never), is_so=is_so)


def _text_repeat(draw: random.Random) -> Problem:
    return dev_problems.text_repeat(draw.choice(COMMON), draw.randint(2, 5))


def _word_count(draw: random.Random) -> Problem:
    return dev_problems.word_count(draw.sample(COMMON, draw.randint(3, 7)))


def _uppercase(draw: random.Random) -> Problem:
    return dev_problems.uppercase(" ".join(draw.sample(COMMON, 2)))


TEMPLATES: tuple[Make, ...] = (
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
        for number, problem in _by_template(random.Random(_SEED), TEMPLATES[:3], 140)
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
    for number, problem in _by_template(random.Random(_SEED), TEMPLATES, 385):
        parts.append(("reasoning", "template_id", number, problem))
    for task, problem in _by_task(random.Random(_SEED + 1000), _V2_TASKS):
        parts.append(("synthetic", "task_type", task, problem))
    for task, problem in _by_task(random.Random(_SEED + 2000), _V2_GOLDEN):
        parts.append(("golden_style", "task_type", task, problem))
    for case, problems in v2_edge_cases().items():
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


def v2_edge_cases() -> dict[str, tuple[Problem, Problem]]:
    """The edge cases of `dev-reasoning-v2`, two each."""
    return edge_cases(random.Random(_SEED + 3000))


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
