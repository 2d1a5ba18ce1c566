"""Expected answers drawn from a grammar, forms in which models write them, and single alterations of them."""

import re
import string
from random import Random

NAMES = ["Paris", "Mercury", "St. Louis", "Ada Lovelace", "New York", "José", "O'Brien", "Jean-Luc", "Au"]
WORDS = ["reversed", "banana banana", "odd", "even", "CDHQ", "the Nile", "obtuse", "Thursday", "a dozen eggs"]
NOUNS = ["apples", "books", "boxes", "people", "cm", "km/h", "m^2", "hours", "kg", "square meters", "minutes"]
LETTERS = "abckmnpqrtuvwxyz"


def integer(random: Random) -> str:
    """A whole number, perhaps negative or grouped."""
    value = random.choice(
        [random.randint(0, 99), random.randint(-999, 999), random.randint(1_000, 9_999_999)]
    )
    return f"{value:,}" if random.random() < 0.3 else str(value)


def decimal(random: Random) -> str:
    """A number with one to four decimals."""
    return f"{random.uniform(-500, 5_000):.{random.randint(1, 4)}f}"


def fraction(random: Random) -> str:
    """A fraction or a mixed number, in plain text or in LaTeX."""
    upper, lower = random.randint(1, 60), random.randint(2, 60)
    sign = random.choice(["", "", "-"])
    written = [f"{upper}/{lower}", f"\\frac{{{upper}}}{{{lower}}}", f"\\dfrac{{{upper}}}{{{lower}}}"]
    if upper < lower and not sign:
        written += [
            f"{random.randint(1, 9)} {upper}/{lower}",
            f"{random.randint(1, 9)}\\frac{{{upper}}}{{{lower}}}",
        ]
    return sign + random.choice(written)


def percent(random: Random) -> str:
    """A share of a hundred."""
    return random.choice(["{}%", "{}\\%", "{} percent"]).format(random.choice([integer, decimal])(random))


def money(random: Random) -> str:
    """An amount of money."""
    value = random.choice(
        [str(random.randint(1, 9_999)), f"{random.uniform(0, 900):.2f}", f"{random.randint(1_000, 99_999):,}"]
    )
    return random.choice(["${}", "\\${}", "€{}", "{} dollars", "£{}", "-${}"]).format(value)


def unit(random: Random) -> str:
    """A number with a unit or a noun."""
    noun = random.choice(NOUNS)
    return random.choice([f"{integer(random)} {noun}", f"{decimal(random)} {noun}"])


def time(random: Random) -> str:
    """A time of day or a ratio."""
    hour, minute = random.randint(1, 12), random.randint(0, 59)
    half = random.choice(["am", "pm", "AM", "PM", "p.m."])
    written = [f"{hour}:{minute:02d} {half}", f"{hour} {half}", f"{random.randint(13, 23)}:{minute:02d}"]
    return random.choice([*written, f"{random.randint(1, 40)}:{random.randint(1, 40)}"])


def entry(random: Random) -> str:
    """What stands in a tuple or a set."""
    return random.choice(
        [lambda r: str(r.randint(-99, 99)), fraction, decimal, root, lambda r: r.choice(LETTERS)]
    )(random)


def coordinates(random: Random) -> str:
    """Two to four values in brackets."""
    items = [entry(random) for _ in range(random.randint(2, 4))]
    opening, closing = random.choice([("(", ")"), ("(", ")"), ("[", "]"), ("\\left(", "\\right)")])
    return opening + random.choice([", ", ","]).join(items) + closing


def several(random: Random) -> str:
    """Two to four values without brackets."""
    items = [entry(random) for _ in range(random.randint(2, 4))]
    return ", ".join(items) if random.random() < 0.7 else ", ".join(items[:-1]) + " and " + items[-1]


def members(random: Random) -> str:
    """A set."""
    return "\\{" + ", ".join(entry(random) for _ in range(random.randint(2, 4))) + "\\}"


def interval(random: Random) -> str:
    """An interval, or two of them together."""

    def one() -> str:
        low = random.randint(-50, 50)
        ends = [str(low), str(low + random.randint(1, 50))]
        if random.random() < 0.2:
            ends[1] = "\\infty"
        return random.choice("([") + ", ".join(ends) + (")" if ends[1] == "\\infty" else random.choice(")]"))

    return one() if random.random() < 0.8 else f"{one()} \\cup {one()}"


def root(random: Random) -> str:
    """A root or a multiple of π."""
    factor, inside = random.choice(["", *map(str, range(2, 20))]), random.choice([2, 3, 5, 7, 11, 13, 30])
    written = [f"{factor}\\sqrt{{{inside}}}", f"{factor}\\pi", f"\\frac{{{factor or 1}\\pi}}{{{inside}}}"]
    return random.choice([*written, f"{factor or 1} + \\sqrt{{{inside}}}", f"\\sqrt[3]{{{inside}}}"])


def term(random: Random) -> str:
    """A term of a polynomial."""
    factor, letter, power = (
        random.choice(["", "2", "3", "12"]),
        random.choice("xyn"),
        random.choice(["", "^2", "^{10}"]),
    )
    return factor + letter + power


def expression(random: Random) -> str:
    """A formula with letters."""
    one, two, number = term(random), term(random), random.randint(1, 30)
    sign, letter = random.choice("+-"), random.choice(LETTERS)
    written = [
        f"{one}{sign}{number}", f"{one} {sign} {two}",
        f"\\frac{{{one}{sign}{number}}}{{{random.randint(2, 9)}}}",
        f"({letter}{sign}{number})({letter}+{random.randint(2, 9)})", f"e^{{{one}}}",
        f"\\sqrt{{{one}+{number}}}",
        f"{one}^2" if "^" not in one else one, f"\\frac{{{number}}}{{{letter}{sign}1}}", f"\\sin({one})",
        f"{number}!", f"2^{{{letter}}}", f"\\log_{{2}} {number}", f"|{letter}-{number}|",
    ]  # fmt: skip
    return random.choice(written)


def equation(random: Random) -> str:
    """An equation or an inequality."""
    letter, other = random.choice(LETTERS), random.choice("xyn")
    written = [
        f"{letter} = {entry(random)}", f"y = {term(random)} + {random.randint(1, 9)}",
        f"{random.randint(2, 9)}{other} + {random.randint(1, 99)} = 0",
        f"{other}^2 + y^2 = {random.randint(1, 99)}",
        f"{letter} > {random.randint(-50, 50)}",
        f"{random.randint(-9, 0)} \\le {letter} < {random.randint(1, 50)}",
        f"{letter} \\geq {random.randint(1, 50)}", f"f(x) = {term(random)}",
        f"{letter} \\neq {random.randint(1, 9)}",
    ]  # fmt: skip
    return random.choice(written)


def choice(random: Random) -> str:
    """A letter of a question with choices."""
    return random.choice(["{}", "({})", "\\text{{{}}}", "\\text{{({})}}"]).format(random.choice("ABCDE"))


def truth(random: Random) -> str:
    """Yes, no, true or false."""
    return random.choice(["yes", "no", "Yes", "No", "True", "False", "true", "false"])


def name(random: Random) -> str:
    """A proper name."""
    return random.choice([*NAMES, f"\\text{{{random.choice(NAMES)}}}"])


def words(random: Random) -> str:
    """Words, or letters that are none."""
    made = "".join(random.choice(string.ascii_lowercase) for _ in range(random.randint(3, 7)))
    return random.choice([random.choice(WORDS), made, " ".join([made] * random.randint(2, 4))])


KINDS = {
    one.__name__: one
    for one in (
        integer, decimal, fraction, percent, money, unit, time, coordinates, several, members, interval, root,
        expression, equation, choice, truth, name, words,
    )
}  # fmt: skip
MATHEMATICAL = {
    "integer", "decimal", "fraction", "coordinates", "members", "interval", "root", "expression", "equation",
}  # fmt: skip

FORMS = {
    "bare": "{x}",
    "bare with a stop": "{x}.",
    "bold": "**{x}**",
    "tag": "First I add 3 and 4.\n<answer>{x}</answer>",
    "tag on lines of its own": "So it is.\n<answer>\n{x}\n</answer>",
    "box": "We add 3 and 4, so we get $\\boxed{{{x}}}$.",
    "hashes": "3 + 4 is what we need.\n#### {x}",
    "answer is": "I looked at 3 of them. The answer is {x}.",
    "answer line": "Reasoning:\n1. 3 + 4 = 7\nAnswer: {x}",
    "answer line with an end token": "2 + 2 = 4\nAnswer: {x}<end_of_turn>",
    "bold answer": "**Answer:** {x}",
    "the answer in bold": "The answer is **{x}**.",
    "final answer": "There were 12.\n\nFinal Answer: {x}",
    "final answer heading": "There were 12.\n\n## Final Answer\n{x}",
    "final answer is": "We check 2 cases. Final Answer: The final answer is {x}. I hope it is correct.",
}
MATHEMATICAL_FORMS = {
    "dollars": "${x}$",
    "answer in dollars": "The answer is ${x}$.",
    "parentheses": "The answer is \\({x}\\).",
    "display": "The answer is:\n\\[\n{x}\n\\]",
    "display in one line": "Thus the answer is \\[{x}\\]",
    "two dollars": "Final Answer:\n$${x}$$",
    "so": "We subtract 2. So the result is ${x}$.",
    "therefore": "Therefore, the value is \\({x}\\)",
}
CHAIN_FORMS = {"end of a chain": "We get 1 + 2 = {x}", "end of a chain in dollars": "Then $1 + 2 = {x}$."}
CHAINED = {"integer", "decimal", "fraction", "root"}


def forms(kind: str) -> dict[str, str]:
    """The forms in which a model writes an answer of this kind."""
    found = dict(FORMS)
    if kind in MATHEMATICAL:
        found |= MATHEMATICAL_FORMS
    if kind in CHAINED:
        found |= CHAIN_FORMS
    return found


def draw(random: Random) -> tuple[str, str]:
    """A kind and an answer of it."""
    kind = random.choice(list(KINDS))
    return kind, KINDS[kind](random)


ALPHABET = "0123456789+-*/^=<>()[]{}|!%" + string.ascii_letters
SIGNS = set("+-*/^=<>()[]{}|!%.,:$€£\\")


def altered(answer: str, random: Random) -> str:
    """The answer with one character taken out, put in or changed: a digit, a sign, a bracket or a letter."""
    place = random.randrange(len(answer))
    new = random.choice(ALPHABET)
    match random.choice(["out", "in", "other", "other"]):
        case "out":
            changed = answer[:place] + answer[place + 1 :]
        case "in":
            changed = answer[:place] + new + answer[place:]
        case _:
            changed = answer[:place] + new + answer[place + 1 :]
    return changed if changed.strip() != answer.strip() and changed.strip() else altered(answer, random)


# What the documents call equal, said by rewriting the texts: no parser, no arithmetic but on single numbers.

SYNONYMS = [
    (r"\\[dtc]frac", r"\\frac"), (r"\\geq?(?![a-z])", "≥"), (r"\\leq?(?![a-z])", "≤"),
    (r"\\neq?(?![a-z])", "≠"), (r"\\([%$])", r"\1"), (r"\\(?:left|right)(?![a-z])", ""),
    (r"\\?(sqrt|pi|log|sin|infty)", r"\1"),
    (r"\bpi|π", "pi"),
    (r"\\text\{([^{}]*)\}", r"\1"), (r"percent(?:age)?|pct", "%"), (r"dollars?", "$"), (r"p\.?m\.?", "pm"),
    (r"a\.m\.?", "am"), (r"square(?=meter)", "sq"), (r"\^2(?![0-9])", "2"), (r"==", "="),
    (r"km/h|kmh", "kph"),
    (r"\*(?=[a-z\\(])", ""), (r"sqmeters?|sqmetres?", "m2"), (r"\{([0-9a-z])\}", r"\1"),
    (r"\binf\b", "infty"),
]  # fmt: skip
SINGULAR = [
    (r"(?<=[a-z]{3})s(?![a-z])", ""), (r"(?<=box)e(?![a-z])", ""), (r"\bkgs?\b", "kg"), (r"hour|hrs?", "h"),
    (r"minute|mins?", "min"), (r"meter|metre", "m"),
]  # fmt: skip


def _rewritten(text: str, *, case: bool) -> str:
    """The text in one spelling: no spaces, one name for each sign, numbers without idle zeros and groups."""
    text = text.strip().rstrip(".,;:?!").strip()
    text = re.sub(r"\s+", "", text) if not case else re.sub(r"\s+", "", text.casefold())
    for pattern, replacement in SYNONYMS:
        text = re.sub(pattern, replacement, text)
    if case:
        for pattern, replacement in SINGULAR:
            text = re.sub(pattern, replacement, text)
    text = re.sub(
        r"(?<![\d,.])(\d{1,3}(?:,\d{3})+)(?![\d]|,\d)", lambda found: found[1].replace(",", ""), text
    )
    text = re.sub(r"(?<![\d.])0+(?=\d)", "", text)
    text = re.sub(r"(?<![\d.])(\d*\.\d*?)0+(?!\d)", r"\1", text)
    text = re.sub(r"(\d)\.(?!\d)", r"\1", text)
    text = re.sub(r"(?<!\d)\.(?=\d)", "0.", text)
    text = re.sub(r"(?<=\d) (?=\d)", ",", text)
    return re.sub(r"(?:(?<=^)|(?<=[(\[,={/<>≤≥]))\+", "", text)


_UNITS = re.compile(r"(?<=[\d)}])(?:%|\$|€|£|[a-z]{2,}(?:/[a-z])?[23]?|[mhgsl][23]?(?![a-z]))$|^(-?)[$€£]")
_LETTERED = {"expression", "equation", "members", "coordinates", "several", "interval", "root", "fraction"}


def same_by_the_rules(kind: str, one: str, two: str) -> bool:
    """Two answers of one kind are equal by a rule of docs/scoring.md, as far as rewriting can say."""
    one, two = (_rewritten(text, case=kind not in _LETTERED) for text in (one, two))
    if one == two:
        return True
    if kind in ("unit", "money", "percent"):
        bare = [_UNITS.sub(r"\1", text) for text in (one, two)]
        return bare[0] == bare[1] and (bare[0] == one or bare[1] == two)
    if kind == "choice":
        letters = [re.sub(r"^\(?([a-z])\)?$", r"\1", text) for text in (one, two)]
        return letters[0] == letters[1]
    if kind == "equation":  # a name left out
        sides = [re.sub(r"^(?:[a-z]|f\(x\))(?=[<>≤≥])|^(?:[a-z]|f\(x\))=", "", text) for text in (one, two)]
        return sides[0] == sides[1] and (sides[0] == one or sides[1] == two)
    return False
