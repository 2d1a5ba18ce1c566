"""Whether two formulas have the same values, by Python's own arithmetic after rewriting: no code of ours."""

import math
import re
from collections.abc import Callable
from random import Random
from typing import Any

_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "sqrt": math.sqrt, "sin": math.sin, "log": lambda x, base=math.e: math.log(x, base), "fact": math.gamma,
    "abs": abs,
}  # fmt: skip
_GROUP = r"\{((?:[^{}]|\{[^{}]*\})*)\}"
_REWRITES = [
    (r"\\[dtc]frac", r"\\frac"), (r"\\(?:left|right|!)(?![a-z])|\\!", ""),
    (r"\\?(?<![a-z])pi(?![a-z])|π", " P "),
    (r"\\?sqrt\[(\d+)\]" + _GROUP, r"((\2)**(1/\1))"), (r"\\?sqrt" + _GROUP, r"SQRT(\1)"),
    (r"\\frac" + _GROUP + _GROUP, r"((\1)/(\2))"), (r"\\?log_" + _GROUP + r"\s*(\d+)", r"LOG(\2,\1)"),
    (r"\\?sin\(", "SIN("), (r"\|([^|]*)\|", r"ABS(\1)"), (r"(?<=[\d.])(?:E|e)(?=[+-]?\d)", "EXPONENT"),
    (r"(\d+)!", r"FACT(\1+1)"), (r"\^" + _GROUP, r"**(\1)"), (r"\^", "**"), (r"(?<![\d.])0+(?=\d)", ""),
]  # fmt: skip
_NAMES = {"SQRT": "sqrt", "SIN": "sin", "LOG": "log", "FACT": "fact", "ABS": "abs"}


def _python(formula: str) -> str:
    for pattern, replacement in _REWRITES:
        formula = re.sub(pattern, replacement, formula)
    pieces = re.findall(r"[A-Z]{2,}|[\d.]+(?:EXPONENT[+-]?\d+)?|[a-zA-Z]|\*\*|\S", formula)
    written: list[str] = []
    for piece in pieces:
        ends = (
            bool(written) and (written[-1][-1].isalnum() or written[-1] == ")") and written[-1] not in _NAMES
        )
        if ends and (piece[0].isalnum() or piece == "("):
            written.append("*")
        written.append(piece)
    return "".join(written).replace("EXPONENT", "e")


def same_values(one: str, two: str) -> bool:
    """Both formulas have the same value wherever both have one, at many points; False where one is none."""
    letters = set(re.findall(r"(?<![A-Za-z\\])[a-zA-Z](?![A-Za-z])", _python(one) + " " + _python(two)))
    random, shared = Random(5), 0
    for _ in range(12):
        values = {letter: random.uniform(-4, 9) for letter in sorted(letters)} | {"P": math.pi, "e": math.e}
        names = {short: _FUNCTIONS[long] for short, long in _NAMES.items()}
        try:
            left, right = (
                eval(compile(_python(text), "formula", "eval"), {"__builtins__": {}}, names | values)
                for text in (one, two)
            )
        except (ValueError, ZeroDivisionError, OverflowError):
            continue
        except (SyntaxError, NameError, TypeError):
            return False
        if isinstance(left, complex) or isinstance(right, complex):
            continue
        if not isinstance(left, int | float) or not isinstance(right, int | float):
            return False
        if abs(left - right) > 1e-9 * max(1.0, abs(left), abs(right)):
            return False
        shared += 1
    return shared >= 3
