"""`eval-v1` and `eval-v2`: questions written by hand, answers computed where they are numbers."""

import math
from typing import Any, NamedTuple


class _Item(NamedTuple):
    category: str
    difficulty: str
    prompt: str
    answer: int | float | str


def v1_rows() -> list[dict[str, Any]]:
    """Twenty-five items; fifteen of their questions recur in `eval-v2`."""
    return [_row(f"eval-{number:03d}", None, item) for number, item in enumerate(_V1, start=1)]


def v2_rows() -> list[dict[str, Any]]:
    """A hundred items in three sections."""
    items = [(section, item) for section, listed in _V2.items() for item in listed]
    return [
        _row(f"eval-v2-{number:03d}", section, item) for number, (section, item) in enumerate(items, start=1)
    ]


def prompts() -> tuple[str, ...]:
    """The questions of both sets, which no training set may ask."""
    return tuple(row["prompt"] for row in (*v1_rows(), *v2_rows()))


def _row(name: str, section: str | None, item: _Item) -> dict[str, Any]:
    return {
        "id": name,
        "prompt": item.prompt,
        "expected_answer": _written(item.answer),
        **({} if section is None else {"section": section}),
        "category": item.category,
        "difficulty": item.difficulty,
    }


def _written(answer: int | float | str) -> str:
    return str(int(answer)) if isinstance(answer, float) and answer.is_integer() else str(answer)


def _listed(category: str, difficulty: str, *pairs: tuple[str, int | float | str]) -> tuple[_Item, ...]:
    return tuple(_Item(category, difficulty, prompt, answer) for prompt, answer in pairs)


_CORE = (
    *_listed(
        "arithmetic", "easy",
        ("What is 15 + 27?", 15 + 27),
        ("What is 64 - 28?", 64 - 28),
        ("What is 7 * 8?", 7 * 8),
        ("What is 96 / 8?", 96 / 8),
        ("What is 125 + 75?", 125 + 75),
        ("What is 100 - 37?", 100 - 37),
        ("What is 12 * 5?", 12 * 5),
        ("What is 81 / 9?", 81 / 9),
        ("What is 48 + 36?", 48 + 36),
        ("What is 250 - 125?", 250 - 125),
        ("What is 9 * 6?", 9 * 6),
        ("What is 144 / 12?", 144 / 12),
        ("What is 33 + 44 + 22?", 33 + 44 + 22),
        ("What is half of 86?", 86 / 2),
        ("What is double 47?", 2 * 47),
        ("What is 10% of 250?", 250 * 10 / 100),
        ("What is 50% of 68?", 68 * 50 / 100),
    ),
    *_listed(
        "arithmetic", "medium",
        ("What is 23 * 14?", 23 * 14),
        ("What is 378 + 465?", 378 + 465),
        ("What is 1000 - 387?", 1000 - 387),
        ("What is 15% of 80?", 80 * 15 / 100),
        ("What is 8 + 6 * 7?", 8 + 6 * 7),
        ("What is (8 + 6) * 7?", (8 + 6) * 7),
        ("What is 2 to the power of 8?", 2**8),
        ("What is the square root of 225?", math.isqrt(225)),
    ),
    *_listed(
        "word_problem", "easy",
        ("Tom has 12 marbles and finds 9 more. How many marbles does he have?", 12 + 9),
        ("A box holds 6 eggs. How many eggs do 7 boxes hold?", 6 * 7),
    ),
    *_listed(
        "geometry", "easy",
        ("What is the area of a rectangle with sides 8 and 5?", 8 * 5),
        ("What is the perimeter of a square with side 9?", 4 * 9),
        ("How many sides does a hexagon have?", 6),
        ("How many degrees does a right angle have?", 90),
        ("What is the area of a square with side 7?", 7**2),
    ),
    *_listed(
        "geometry", "medium",
        ("What is the area of a triangle with base 10 and height 6?", 10 * 6 / 2),
        ("What is the perimeter of a rectangle with sides 12 and 7?", 2 * (12 + 7)),
        ("What is the volume of a cube with edge 4?", 4**3),
        ("Two angles of a triangle have 50 and 60 degrees. How many degrees has the third?", 180 - 50 - 60),
        ("A right triangle has legs 6 and 8. How long is its hypotenuse?", math.isqrt(6**2 + 8**2)),
        ("A square has area 121. How long is its side?", math.isqrt(121)),
        ("What is the volume of a box with edges 3, 4 and 5?", 3 * 4 * 5),
        ("A circle has radius 7. What is its diameter?", 2 * 7),
        ("What is the sum of the angles of a pentagon, in degrees?", (5 - 2) * 180),
    ),
    *_listed(
        "geometry", "hard",
        ("How many diagonals does a convex octagon have?", 8 * (8 - 3) // 2),
    ),
    *_listed(
        "knowledge", "easy",
        ("Which city is the capital of France?", "Paris"),
        ("Which day of the week comes after Thursday?", "Friday"),
        ("How many days does a leap year have?", 366),
        ("How many continents are there, counting Europe and Asia apart?", 7),
        ("How many planets does the solar system have?", 8),
        ("How many months have exactly 30 days?", 4),
    ),
    *_listed(
        "conversion", "easy",
        ("How many minutes are in 3 hours?", 3 * 60),
        ("How many metres are in 5 kilometres?", 5 * 1000),
        ("How many grams are in 2 kilograms?", 2 * 1000),
    ),
    *_listed(
        "conversion", "medium",
        ("How many seconds are in 2.5 minutes?", 2.5 * 60),
        ("How many degrees Fahrenheit are 25 degrees Celsius?", 25 * 9 / 5 + 32),
        ("How many hours are in 2 weeks?", 2 * 7 * 24),
    ),
    *_listed("number_theory", "easy", ("What is the smallest prime number above 10?", 11)),
    *_listed(
        "number_theory", "medium",
        ("What is the greatest common divisor of 36 and 48?", math.gcd(36, 48)),
        ("What is the least common multiple of 6 and 8?", math.lcm(6, 8)),
    ),
    *_listed(
        "pattern", "medium",
        ("What number comes next: 2, 4, 8, 16?", 16 * 2),
        ("What number comes next: 1, 1, 2, 3, 5, 8?", 5 + 8),
    ),
    *_listed(
        "statistics", "medium", ("What is the mean of 4, 8, 15 and 21?", (4 + 8 + 15 + 21) / 4)
    ),
)  # fmt: skip

_TRACE_SENSITIVE = (
    *_listed(
        "word_problem", "medium",
        ("A train travels at 60 km/h for 2.5 hours. How many kilometres does it go?", 60 * 2.5),
        ("A shirt costs 40 dollars and is reduced by 25%. How many dollars does it cost now?", 40 * 0.75),
        ("Anna is 4 years older than Ben. Together they are 30. How old is Anna?", (30 + 4) // 2),
        ("A tap fills 12 litres in 3 minutes. How many litres does it fill in 10 minutes?", 12 // 3 * 10),
        ("Five pens cost 15 dollars. How many dollars do 8 pens cost?", 15 // 5 * 8),
        ("A bus starts with 23 people, 9 get off and 14 get on. How many are on it then?", 23 - 9 + 14),
        ("A baker makes 120 rolls and packs them in bags of 8. How many bags does he fill?", 120 // 8),
    ),
    *_listed(
        "word_problem", "easy",
        ("Mia has 20 dollars and buys 3 books for 4 dollars each. How many dollars are left?", 20 - 3 * 4),
        ("A farmer has 15 cows and twice as many sheep. How many animals is that?", 15 + 2 * 15),
    ),
    *_listed(
        "word_problem", "hard",
        (
            "One pipe fills a tank in 6 hours, another in 3 hours. How many hours do they take together?",
            (6 * 3) // (6 + 3),
        ),
        (
            "A car drives 120 km at 60 km/h and then 120 km at 40 km/h. What is its mean speed in km/h?",
            240 / (120 / 60 + 120 / 40),
        ),
        (
            "A price rises by 20% and then falls by 20%. It was 150 dollars. How many dollars is it now?",
            150 * 120 * 80 // 100 // 100,
        ),
        (
            "There are 35 heads and 94 legs of chickens and rabbits in a yard. How many rabbits are there?",
            (94 - 2 * 35) // 2,
        ),
        (
            "A snail climbs 3 metres by day and slides back 2 by night. On which day is it out of a well of "
            "10 metres?",
            10 - 3 + 1,
        ),
    ),
    *_listed("arithmetic", "easy", ("What is 5 + 10 - 3 + 8?", 5 + 10 - 3 + 8)),
    *_listed(
        "arithmetic", "medium",
        ("What is 12 * 12 - 44?", 12 * 12 - 44),
        ("What is (45 - 17) * 3?", (45 - 17) * 3),
        ("What is 360 / 9 + 25 * 4?", 360 // 9 + 25 * 4),
        ("What is 17 + 26 + 35 + 44?", 17 + 26 + 35 + 44),
    ),
    *_listed(
        "arithmetic", "hard",
        ("What is 37 * 43?", 37 * 43),
        ("What is the sum of all whole numbers from 1 to 50?", sum(range(1, 51))),
    ),
    *_listed("number_theory", "medium", ("How many divisors does 36 have, itself and 1 included?", 9)),
    *_listed(
        "number_theory", "hard",
        ("What is the remainder when 2 to the power of 10 is divided by 7?", 2**10 % 7),
    ),
    *_listed(
        "probability", "hard",
        ("Three fair dice are rolled. How likely are three sixes? Answer as a fraction.", "1/216"),
    ),
    *_listed("algebra", "hard", ("If 3x + 7 = 2x + 19, what is x?", 19 - 7)),
)  # fmt: skip

_EDGE_CASE = (
    *_listed(
        "arithmetic", "easy",
        ("What is 0 * 999?", 0),
        ("What is 5 - 12?", 5 - 12),
        ("What is 1000000 + 1?", 1_000_001),
    ),
    *_listed(
        "formatting", "easy",
        ("Answer with the number only: how much is 6 + 7?", 6 + 7),
        ("Answer in one word: which city is the capital of France?", "Paris"),
        ("Write the number twelve in digits.", 12),
        ("Write 3.50 without the zero at its end.", 3.5),
        ("Write one quarter as a decimal number.", 0.25),
        ("Write 1,024 without the comma.", 1024),
        ("Answer true or false: 2 + 2 = 4.", "true"),
        ("Round 7.8 to the nearest whole number.", 8),
        ("Write seven hundred and five in digits.", 705),
        ("Answer with digits only: how many letters has the word 'banana'?", len("banana")),
        ("Write 45% as a decimal number.", 0.45),
        ("How many zeros does the number 10000 end with?", 4),
    ),
)  # fmt: skip

_V2 = {"core": _CORE, "trace_sensitive": _TRACE_SENSITIVE, "edge_case": _EDGE_CASE}

_BY_PROMPT = {item.prompt: item for listed in _V2.values() for item in listed}

_RECURRING = tuple(
    _BY_PROMPT[prompt]
    for prompt in (
        "What is 15 + 27?",
        "What is 64 - 28?",
        "What is 7 * 8?",
        "What is 96 / 8?",
        "What is 23 * 14?",
        "What is 15% of 80?",
        "Which city is the capital of France?",
        "How many days does a leap year have?",
        "What is the area of a rectangle with sides 8 and 5?",
        "What is the area of a triangle with base 10 and height 6?",
        "How many minutes are in 3 hours?",
        "What number comes next: 2, 4, 8, 16?",
        "What is the greatest common divisor of 36 and 48?",
        "A train travels at 60 km/h for 2.5 hours. How many kilometres does it go?",
        "Five pens cost 15 dollars. How many dollars do 8 pens cost?",
    )
)

_V1 = (
    *_RECURRING,
    *_listed("arithmetic", "easy", ("What is 19 + 34?", 19 + 34)),
    *_listed("arithmetic", "medium", ("What is 18 * 16?", 18 * 16)),
    *_listed(
        "knowledge", "easy",
        ("Which planet is closest to the sun?", "Mercury"),
        ("What is the chemical symbol of gold?", "Au"),
    ),
    *_listed(
        "word_problem", "medium",
        ("A rope of 45 metres is cut into pieces of 5 metres. How many pieces are there?", 45 // 5),
        ("Lena reads 24 pages a day. How many days does she take for 192 pages?", 192 // 24),
    ),
    *_listed("geometry", "easy", ("How many edges does a cube have?", 12)),
    *_listed("geometry", "medium", ("What is the area of a parallelogram with base 9 and height 4?", 9 * 4)),
    *_listed("conversion", "medium", ("How many millilitres are in 3.5 litres?", 3.5 * 1000)),
    *_listed(
        "probability", "medium", ("A fair coin is tossed. How likely is heads, as a decimal number?", 0.5)
    ),
)  # fmt: skip
