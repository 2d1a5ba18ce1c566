"""The kinds of problems of `dev-reasoning`: each a function of its numbers or words, each step computed."""

from collections.abc import Sequence

from tunix_exp.data.generators.traces import Problem, in_decimals


def distance(vehicle: str, speed: int, hours: int) -> Problem:
    """Speed times time."""
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


def percentage(percent: int, whole: int) -> Problem:
    """A share of a whole that is a whole number itself."""
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


def unit_cost(count: int, total: int) -> Problem:
    """A total in dollars over a count that divides it into whole cents."""
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


def addition(left: int, right: int) -> Problem:
    """Two numbers of two digits, ones before tens."""
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


def subtraction(left: int, right: int) -> Problem:
    """Two numbers of two digits, the smaller from the larger, and a minus where that is the first."""
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


def multiplication(left: int, right: int) -> Problem:
    """A number of two digits times one of one: tens and ones apart."""
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


def arithmetic(first: int, second: int, third: int) -> Problem:
    """A sum and a difference, from left to right."""
    sum_ = first + second
    return Problem(
        f"Compute {first} + {second} - {third}.",
        (
            ("process", f"From left to right: {first} + {second} = {sum_}"),
            ("result", f"{sum_} - {third} = {sum_ - third}"),
        ),
        str(sum_ - third),
    )


def string_reverse(word: str) -> Problem:
    """A word from its end."""
    return Problem(
        f"Reverse the string '{word}'.",
        (
            ("process", f"The letters from the last to the first: {' '.join(word[::-1])}"),
            ("result", f"Joined: {word[::-1]}"),
        ),
        word[::-1],
    )


def string_sort(letters: str) -> Problem:
    """Letters in the order of the alphabet."""
    in_order = "".join(sorted(letters))
    return Problem(
        f"Sort the letters '{letters}' in alphabetical order.",
        (
            ("process", f"In the order of the alphabet: {' '.join(in_order)}"),
            ("result", f"Joined: {in_order}"),
        ),
        in_order,
    )


def logic(plural: str, kind: str, member: str, trait: str, *, is_so: bool) -> Problem:
    """A rule of all or of none, and one that it holds for."""
    subject = _with_article(member)
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


def text_repeat(word: str, times: int) -> Problem:
    """A word so many times, counted."""
    return Problem(
        f"Write the word '{word}' {times} times, with blanks between.",
        (
            ("process", f"Counting: {', '.join(f'{number} {word}' for number in range(1, times + 1))}"),
            ("result", " ".join([word] * times)),
        ),
        " ".join([word] * times),
    )


def word_count(words: Sequence[str]) -> Problem:
    """Words, each with its number."""
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


def uppercase(words: str) -> Problem:
    """Words in capitals, letter by letter."""
    return Problem(
        f"Write '{words}' in upper case.",
        (
            ("process", f"Letter by letter: {' '.join(words.replace(' ', '').upper())}"),
            ("result", f"With the blank between the words: {words.upper()}"),
        ),
        words.upper(),
    )
