import pytest

from tunix_exp.json_text import MOST_DIGITS, BadJSON, parse, printable


@pytest.mark.parametrize(
    ("text", "fault", "says"),
    [
        ('{"a": 1,\n "b" 2}', "syntax", "is not JSON: Expecting ':' delimiter: line 2 column 6"),
        ('{"a": {"b": 1, "b": 2}}', "key", "has the key `b` twice"),
        ('{"\\ud800": 1, "\\ud800": 2}', "key", r"has the key `\\ud800` twice"),
        ("[NaN]", "constant", "holds NaN, which is no number"),
        ("[-Infinity]", "constant", "holds -Infinity, which is no number"),
        ("1e999", "number", "holds 1e999, which is too large a number"),
        ("9" * 6000, "number", "holds a number of 6000 digits"),
        ("[" * 100_000, "depth", "is nested too deep"),
    ],
)
def test_what_is_no_sound_json_is_told_by_its_kind(text, fault, says):
    with pytest.raises(BadJSON, match=says) as caught:
        parse(text)
    assert caught.value.fault == fault


def test_every_number_that_is_read_can_be_written():
    number = parse("9" * MOST_DIGITS)
    assert str(number) == "9" * MOST_DIGITS
    assert parse("[-12, 2.5e3, true, null]") == [-12, 2500.0, True, None]


def test_half_a_character_is_spelled_out():
    assert printable("größer \ud800") == "größer \\ud800"
