"""Numbers as people and models write them, with their units.

Read are signs, thousands separators (`1,234` and `1 234`), decimals, fractions (`1/216`), mixed numbers
(`3 1/2`), powers and scientific notation, scale words (`2 million`), per cent, currencies and number words.
Not read, and so compared as text: decimal commas, dates, times, ratios, version numbers.
"""

import re
from dataclasses import dataclass
from fractions import Fraction

_LONGEST_NUMBER = 200
"""Characters. A longer number is compared as text: Python refuses `int` on some thousands of digits."""

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
    "%": "% percent pct",
    "cent": "¢ cent cents",
    "usd": "$ usd us$ dollar dollars",
    "eur": "€ eur euro euros",
    "gbp": "£ gbp",
    "jpy": "¥ jpy yen",
    "inr": "₹ inr rupee rupees",
    "chf": "chf",
}
_UNIT_OF = {spelling: unit for unit, spellings in _UNITS.items() for spelling in spellings.split()}
_UNIT_OF |= {
    f"{degree} {scale}": f"°{scale[0]}"
    for degree in ("degree", "degrees")
    for scale in ("celsius", "fahrenheit")
}
_CURRENCIES = frozenset({"usd", "eur", "gbp", "jpy", "inr", "chf"})
_POUND = frozenset({"pound", "lb", "gbp"})

_ONES = """
    zero one two three four five six seven eight nine ten
    eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen
"""
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_WORD_VALUE = {word: value for value, word in enumerate(_ONES.split())} | {
    word: 20 + 10 * place for place, word in enumerate(_TENS.split())
}
_SCALES = {"hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}


def _any(words: list[str]) -> str:
    return "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))


# Every repetition that something may follow is possessive or bounded, so that no text makes the search
# go back over what it has read: the time is linear.
_COMMAS = r"[0-9]{1,3}(?:,[0-9]{3}){1,11}(?![0-9]|,[0-9])"
_SPACES = r"[0-9]{1,3}(?:[ ][0-9]{3}){1,11}(?![0-9/]|[ ][0-9])"
_GROUPED = rf"(?:{_COMMAS}|{_SPACES}|[0-9]++)"
_UNIT = rf"(?:(?:square|cubic|sq)[ ])?(?:{_any(list(_UNIT_OF))}|per[ ]cent)(?:\^?[23])?"
_MONEY = r"US\$|[$€£¥₹]|(?:USD|EUR|GBP|JPY|INR|CHF)(?![A-Za-z])"
NUMBER = re.compile(
    rf"""
    (?<![\w^])
    (?P<sign>(?<![)\]%])[-+])?
    (?:(?P<money>{_MONEY})[ ]?(?P<inner_sign>[-+])?)?
    (?:
        (?P<coded>[0-9]++(?P<between>[/:.-])[0-9]++(?:(?P=between)[0-9]++)+|[0-9]++:[0-9]++)
      | (?P<whole>[0-9]++)(?:[ ]and)?[ ](?P<part>[0-9]++)/(?P<parts>[0-9]++)
      | (?P<number>{_GROUPED}(?:\.[0-9]++)?|\.[0-9]++)
        (?:
            [ ]?/[ ]?(?P<divisor>{_GROUPED}(?:\.[0-9]++)?)(?![0-9])
          | e(?P<exponent>[-+]?[0-9]{{1,2}})(?!\w)
          | [ ]?[×x*][ ]?10\^(?P<ten_power>-?[0-9]{{1,2}})(?![0-9])
          | \^(?P<power>-?[0-9]{{1,2}})(?![0-9])
        )?
        (?:[ ](?P<scale>thousand|million|billion|trillion)(?!\w))?
    )
    (?:[ -]?(?P<unit>{_UNIT}(?:[ ]?(?:/|per[ ])[ ]?{_UNIT})?)(?![\w/^]))?
    """,
    re.VERBOSE | re.IGNORECASE,
)
_WORD = _any([*_WORD_VALUE, *_SCALES])
_NUMBER_WORDS = re.compile(
    rf"(?<![\w-])(?:(?P<minus>minus|negative)[ ])?(?P<words>(?:an?[ ](?=hundred|thousand|million|half))?"
    rf"(?:half|(?:{_WORD})(?:(?:[ ]and[ ]|[ -])(?:{_WORD})){{0,15}}))(?![\w-])"
    rf"(?:[ -](?P<unit>{_UNIT}(?:[ ]?(?:/|per[ ])[ ]?{_UNIT})?)(?![\w/^]))?"
)
_REMARK = re.compile(r"[^\W\d_°][\w .,'/°^()-]*|")
_NEGATION = re.compile(r"(?<!\w)(?:not|never|cannot|neither|nor)(?!\w)|n't(?!\w)")
_OPERATOR = re.compile(r"[+*^=<>×|\\]|(?<!\w)[a-z](?!\w)[ ]?[-/]|[-/][ ]?[a-z](?!\w)")


@dataclass(frozen=True, slots=True)
class Quantity:
    """An exact value and its unit in one spelling; None where none is written."""

    value: Fraction
    unit: str | None

    def agrees_with(self, other: "Quantity", *, tolerance: Fraction) -> bool:
        """Equal in value, and no unit contradicts the other: a missing unit contradicts nothing.

        Integers are equal exactly, other values within the relative `tolerance`. Units are never
        converted, but `50%` is also 0.5.
        """
        if self.unit is not None and other.unit is not None:
            return _same_unit(self.unit, other.unit) and _close(self.value, other.value, tolerance)
        mine = {self.value, self.value / 100} if self.unit == "%" else {self.value}
        theirs = {other.value, other.value / 100} if other.unit == "%" else {other.value}
        return any(_close(one, two, tolerance) for one in mine for two in theirs)


def only_quantity(text: str) -> Quantity | None:
    """The quantity that the normalised `text` is, with at most three words after it as its unit, or None."""
    text = _joined_sign(text)
    found = NUMBER.match(text) or _NUMBER_WORDS.match(text)
    if found is None:
        return None
    quantity, rest = _quantity(found), text[found.end() :].strip(" ,.-")
    if quantity is None or not _is_remark(rest):
        return None
    return _with_trailing_unit(quantity, rest) if len(rest.split()) <= 3 else None


def single_quantity(text: str) -> Quantity | None:
    """The one quantity that a normalised sentence states; None if none, several, denied or in a formula.

    Number words count only where no digits stand: `this one has 5` states 5.
    """
    text = _joined_sign(text)
    found = list(NUMBER.finditer(text)) or list(_NUMBER_WORDS.finditer(text))
    if len(found) != 1 or _NEGATION.search(text):
        return None
    quantity = _quantity(found[0])
    before, after = text[: found[0].start()].strip(), text[found[0].end() :]
    if quantity is None or _OPERATOR.search(before) or _OPERATOR.search(after) or _letter(after.strip()):
        return None
    if before == "" and len(after.split()) <= 3 and _is_remark(after.strip(" ,.-")):
        return _with_trailing_unit(quantity, after.strip(" ,.-"))
    return quantity


def _quantity(found: re.Match[str]) -> Quantity | None:
    if found.re is _NUMBER_WORDS:
        value = _value_of_words(found["words"])
        return Quantity(-value if found["minus"] else value, _unit(found["unit"]))
    if found["coded"] is not None or found.end() - found.start() > _LONGEST_NUMBER:
        return None
    if found["whole"] is not None:
        value = _ratio(Fraction(found["part"]), Fraction(found["parts"]))
        value = None if value is None else int(found["whole"]) + value
    else:
        value = _decimal(found["number"])
        if found["divisor"] is not None:
            value = _ratio(value, _decimal(found["divisor"]))
        elif found["exponent"] is not None or found["ten_power"] is not None:
            value *= Fraction(10) ** int(found["exponent"] or found["ten_power"])
        elif found["power"] is not None:
            power = int(found["power"])
            value = None if value == 0 and power < 0 else value**power
        if value is not None and found["scale"] is not None:
            value *= _SCALES[found["scale"].lower()]
    if value is None:
        return None
    is_negative = "-" in (found["sign"], found["inner_sign"])
    return Quantity(-value if is_negative else value, _unit(found["money"] or found["unit"]))


def _decimal(digits: str) -> Fraction:
    return Fraction(digits.replace(",", "").replace(" ", ""))


def _ratio(value: Fraction, divisor: Fraction) -> Fraction | None:
    return None if divisor == 0 else value / divisor


def _value_of_words(words: str) -> Fraction:
    total, group = 0, 0
    for word in re.split(r"[ -]", words):
        if word == "half":
            return Fraction(1, 2)
        if word in ("a", "an"):
            group = 1
        elif word == "hundred":
            group = max(group, 1) * 100
        elif word in _SCALES:
            total, group = total + max(group, 1) * _SCALES[word], 0
        elif word != "and":
            group += _WORD_VALUE[word]
    return Fraction(total + group)


def _joined_sign(text: str) -> str:
    """`- 5`, `minus 5` and `negative 5` become `-5`."""
    return re.sub(r"^(?:-|minus|negative)[ ]+(?=[0-9.$€£¥₹])", "-", text)


def _is_remark(rest: str) -> bool:
    has_number = re.search(r"(?<![\^a-z])[0-9]", rest) is not None
    return _REMARK.fullmatch(rest) is not None and not _letter(rest) and not has_number


def _letter(rest: str) -> bool:
    """The rest begins with a lone letter that is no unit: `5x` is a term, not a quantity."""
    return re.match(r"[a-z](?!\w)", rest) is not None and _unit(rest[0]) not in _UNITS


def _with_trailing_unit(quantity: Quantity, rest: str) -> Quantity:
    return quantity if quantity.unit is not None else Quantity(quantity.value, _unit(rest))


def _unit(text: str | None) -> str | None:
    """One spelling of a unit: `square metres` → `m^2`, `miles per hour` → `mi/h`, `apples` → `apple`."""
    if text is None or not text.strip():
        return None
    text = re.sub(r"[ ]?(?:/|(?<!\w)per[ ](?!cent))[ ]?", "/", text.strip().lower())
    unit = "/".join(_simple_unit(part) for part in text.split("/"))
    money = unit.split("/")[0].split(" ")[0]
    return money if money in _CURRENCIES else unit


def _simple_unit(text: str) -> str:
    power = ""
    for mark, exponent in (("square ", "^2"), ("sq ", "^2"), ("cubic ", "^3")):
        if text.startswith(mark):
            text, power = text.removeprefix(mark), exponent
    for mark, exponent in ((" squared", "^2"), (" cubed", "^3"), ("^2", "^2"), ("^3", "^3")):
        if text.endswith(mark):
            text, power = text.removesuffix(mark), exponent
    if text[-1:] in ("2", "3") and text[:-1] in _UNIT_OF:
        text, power = text[:-1], "^" + text[-1]
    if text == "per cent":
        return "%"
    if text in _UNIT_OF:
        return _UNIT_OF[text] + power
    return " ".join(_UNIT_OF[word] if word in _UNIT_OF else _singular(word) for word in text.split()) + power


def _singular(word: str) -> str:
    if re.search(r"(?:x|ch|sh|ss)es$", word):
        return word[:-2]
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


def _same_unit(one: str, two: str) -> bool:
    """Equal, or one goes on in words (`apple` and `apple left`), or a pound that may be either kind."""
    is_pound = "pound" in (one, two) and {one, two} <= _POUND
    return one == two or one.startswith(two + " ") or two.startswith(one + " ") or is_pound


def _close(one: Fraction, two: Fraction, tolerance: Fraction) -> bool:
    if one.denominator == 1 and two.denominator == 1:
        return one == two
    return abs(one - two) <= tolerance * max(abs(one), abs(two))
