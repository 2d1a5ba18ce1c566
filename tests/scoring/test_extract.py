import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.pace import slowness
from tunix_exp.scoring.extract import extract

PIECES = [
    "answer to ", "Answer:", "answer is ", "the answer is correct ", "answer:\n", "answer : \t",
    "ans**", "1,234", "1 234 ", "1 ", "1.1", "1/", "1/2 ", "2 3/", "1:2", "1-", "1^", "1e", "1e9",
    "12,", "- 1", "-", "+", "\\boxed{", "\\boxed{1}", "{", "}", "\\", "\\\\", "\\frac{1",
    "\\frac{1}{2}", "\\text{", "$", "\\$", "$5 ", "<answer>", "</answer>", "<answer></answer>",
    "<ANSWER>1", "<|", "<|a|>", "</s>", "#### 1", "####", "\n####", "a", " ", "\n", "\t\n", ".",
    ". A", "A. ", "½", "²", "٠", "ﬁ", "\u0301", "(", ")", "*", "_", "per ", "one ", "square ",
    "US$", "%", "°", "$x$ ", "$$", "\\(", "\\[", "\\)", "\\]", "\\begin{", "\\boxed{1} and ", "答案",
    "是5", "x = ", "1, ",
    "1 and ", "so ", "is ", "Option B ", "not 5 ", "at least ", "5 or ", "|", "||", "\\{", "1\\",
    "3:4:", "3:4 pm", "é", "₂", "A5",
    "±", "1 ± ", "\n\n", ". So ", "**", "*a*", "`", "yes, ",
]  # fmt: skip


@pytest.mark.parametrize("piece", PIECES)
def test_a_megabyte_of_anything_takes_under_a_tenth_of_a_second(piece):
    text = piece * (1_000_000 // len(piece))
    assert min(_processor_seconds(text) for _ in range(3)) < 0.1 * slowness()


def _processor_seconds(text):
    # not the clock's: other processes share the machine
    begin = time.thread_time()
    extract(text)
    return time.thread_time() - begin


@given(st.text())
def test_any_text_is_extracted_from_without_a_crash(text):
    found = extract(text)
    assert (found.answer is None) == (found.rule == "none")
    assert found.answer is None or found.answer.strip()


@given(st.lists(st.sampled_from(PIECES), max_size=40).map("".join))
def test_any_mixture_of_markers_is_extracted_from_without_a_crash(text):
    assert (extract(text).answer is None) == (extract(text).rule == "none")


@given(st.text(), st.integers(-(10**9), 10**9))
def test_a_closing_tag_decides_whatever_stands_before(text, number):
    found = extract(f"{text}\n<answer>{number}</answer>")
    assert (found.answer, found.rule) == (str(number), "tag")


@given(st.text(alphabet=st.characters(exclude_characters="<#\\{}$")), st.integers(-(10**9), 10**9))
def test_a_last_answer_line_decides_where_nothing_stronger_stands(text, number):
    found = extract(f"{text}\nAnswer: {number}")
    assert (found.answer, found.rule) == (str(number), "answer-line")


def test_an_answer_further_from_the_end_than_any_generation_is_not_read():
    assert extract("Answer: 42\n" + "word " * 10_000).answer is None


def test_a_whole_page_in_a_tag_is_no_answer():
    assert extract("<answer>" + "word " * 1_000 + "</answer>").rule == "none"


def test_a_line_of_more_than_eight_words_is_no_whole_line_answer():
    assert extract("a b c d e f g h").rule == "whole-line"
    assert extract("a b c d e f g h i").rule == "none"
