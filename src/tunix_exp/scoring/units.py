"""Units in one spelling: a closed table, and plain nouns (`5 apples`)."""

import re

_UNITS = {
    "mm": "mm millimeter millimeters millimetre millimetres",
    "cm": "cm centimeter centimeters centimetre centimetres",
    "m": "m meter meters metre metres",
    "km": "km kms kilometer kilometers kilometre kilometres",
    "inch": "inch inches",
    "ft": "ft foot feet",
    "yd": "yd yard yards",
    "mi": "mi mile miles",
    "mg": "mg milligram milligrams",
    "g": "g gram grams gramme grammes",
    "kg": "kg kgs kilogram kilograms",
    "lb": "lb lbs",
    "pound": "pound pounds",
    "oz": "oz ounce ounces",
    "ml": "ml milliliter milliliters millilitre millilitres",
    "l": "l liter liters litre litres",
    "s": "s sec secs second seconds",
    "min": "min mins minute minutes",
    "h": "h hr hrs hour hours",
    "day": "day days",
    "week": "week weeks",
    "month": "month months",
    "year": "yr yrs year years",
    "mi/h": "mph",
    "km/h": "kmh kph",
    "°": "° deg degree degrees",
    "°c": "°c celsius",
    "°f": "°f fahrenheit",
    "%": "% percent percentage pct",
    "cent": "¢ cent cents",
    "usd": "$ usd us$ dollar dollars",
    "eur": "€ eur euro euros",
    "gbp": "£ gbp",
    "jpy": "¥ jpy yen",
    "inr": "₹ inr rupee rupees",
    "chf": "chf",
}
UNIT_OF = {spelling: unit for unit, spellings in _UNITS.items() for spelling in spellings.split()}
_CURRENCIES = frozenset({"usd", "eur", "gbp", "jpy", "inr", "chf"})
_POUND = frozenset({"pound", "lb", "gbp"})
_MOST_WORDS = 3

# Words that change the number beside which they stand: no unit, and no sentence that states just the number.
COMPARING = frozenset(
    [
        "more",
        "less",
        "fewer",
        "greater",
        "larger",
        "smaller",
        "bigger",
        "higher",
        "lower",
        "least",
        "most",
        "minimum",
        "maximum",
        "over",
        "under",
        "above",
        "below",
        "between",
        "beyond",
        "within",
        "exceed",
        "exceeds",
        "exceeding",
        "than",
        "nearly",
        "almost",
    ]
)
DENYING = frozenset(
    [
        "not",
        "never",
        "no",
        "none",
        "neither",
        "nor",
        "cannot",
        "without",
        "except",
        "instead",
        "rather",
        "wrong",
        "incorrect",
        "untrue",
    ]
)
HEDGING = frozenset(
    ["or", "either", "maybe", "perhaps", "possibly", "unless", "if", "whether", "versus", "vs", "and"]
)
ELEMENTARY_FUNCTIONS = frozenset(
    [
        "sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan", "log", "ln", "lg", "exp",
    ]
)  # fmt: skip
CALCULATING = ELEMENTARY_FUNCTIONS | {
    "twice", "thrice", "double", "doubled", "triple", "tripled", "quadruple", "half", "halves", "halved",
    "third", "thirds", "quarter", "quarters", "fourth", "fourths", "fifth", "fifths", "sixth", "sixths",
    "seventh", "sevenths", "eighth", "eighths", "ninth", "ninths", "tenth", "tenths", "hundredth",
    "hundredths", "thousandth", "thousandths", "dozen", "dozens", "score", "scores", "gross", "couple",
    "hundred", "hundreds", "thousand", "thousands", "million", "millions", "billion", "billions",
    "trillion", "trillions", "squared", "cubed", "root", "roots", "cube", "power", "exponent",
    "exponential", "factorial", "factorials", "logarithm", "sine", "cosine", "tangent", "sqrt",
    "inverse", "reciprocal", "opposite", "negative", "minus", "plus", "times", "divided", "multiplied",
    "modulo", "mod", "choose", "alpha", "beta", "gamma", "delta", "epsilon", "theta", "lambda", "sigma",
    "omega", "phi", "pi",
}  # fmt: skip
OPERATING = COMPARING | DENYING | HEDGING | CALCULATING

_SPACES_AROUND_PER = re.compile(r"\s?(?:/|(?<!\w)per\s(?!cent))\s?")
_POWERS = (("square ", "^2"), ("sq ", "^2"), ("cubic ", "^3"))
_RAISED = ((" squared", "^2"), (" cubed", "^3"))
_EXPONENT = re.compile(r"\s?\^\s?\{?\s?([23])\s?\}?$")
_NOUN = re.compile(r"[^\W\d_]{3,}(?:-[^\W\d_]{3,}){0,2}(?:'s?)?|[^\W\d_a-zA-Z]+|(?:of|in|on|at|to)")
_DEGREES = re.compile(r"(?:°|degrees?)\s?([cf]|celsius|fahrenheit)")


def unit_of(text: str) -> str | None:
    """One spelling: `square metres` → `m^2`, `miles per hour` → `mi/h`, `apples` → `apple`; else None."""
    text = " ".join(text.lower().split()).strip(" ,.").replace(" left over", " left")
    if not text:
        return None
    degrees = _DEGREES.fullmatch(text)
    if degrees is not None:
        return "°" + degrees[1][0]
    parts = _SPACES_AROUND_PER.split(text)
    units = [_simple(part) for part in parts]
    if len(units) > 2 or not all(units):
        return None
    return units[0] if units[0] in _CURRENCIES else "/".join(unit for unit in units if unit)


def is_known(text: str) -> bool:
    """The text is a unit of the table, with its power, alone or as a quotient."""
    parts = _SPACES_AROUND_PER.split(" ".join(text.lower().split()))
    return all((unit := _simple(part)) and re.sub(r"\^[23]$", "", unit) in _UNITS for part in parts)


def _simple(text: str) -> str | None:
    power = ""
    for mark, exponent in _POWERS:
        if text.startswith(mark):
            text, power = text.removeprefix(mark), exponent
    for mark, exponent in _RAISED:
        if text.endswith(mark):
            text, power = text.removesuffix(mark), exponent
    raised = _EXPONENT.search(text)
    if raised is not None:
        text, power = text[: raised.start()], f"^{raised[1]}"
    if text[-1:] in ("2", "3") and text[:-1] in UNIT_OF:
        text, power = text[:-1], "^" + text[-1]
    if text == "per cent":
        return "%"
    if text in UNIT_OF:
        return UNIT_OF[text] + power
    words = text.split()
    if len(words) > _MOST_WORDS + (power == "") or any(word in OPERATING for word in words):
        return None
    if not all(word in UNIT_OF or _NOUN.fullmatch(word) for word in words):
        return None
    if words and words[0] in ("of", "in", "on", "at", "to"):
        return None
    return " ".join(UNIT_OF[word] if word in UNIT_OF else _singular(word) for word in words) + power


def _singular(word: str) -> str:
    if re.search(r"(?:x|ch|sh|ss)es$", word):
        return word[:-2]
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


def same_unit(one: str, two: str) -> bool:
    """Equal, or one goes on in words (`apple` and `apple left`), or a pound that may be either kind."""
    is_pound = "pound" in (one, two) and {one, two} <= _POUND
    return one == two or one.startswith(two + " ") or two.startswith(one + " ") or is_pound
