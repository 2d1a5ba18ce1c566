import dataclasses

import pytest
import tokenizers

from tests.data.toys import saved_tokenizer
from tunix_exp.data.picture import Stretch, marked, pictured
from tunix_exp.data.tokenizer import load_tokenizer

BYTES = load_tokenizer("bundled:bytes", chat="none")


def test_a_stretch_is_learnt_or_read_and_special_or_text():
    ids = [*BYTES.encode("ab\nc"), BYTES.eos_id]
    assert pictured(ids, [False, True, True, True, True], BYTES) == [
        [Stretch("a", False, False), Stretch("b⏎", True, False)],
        [Stretch("c", True, False), Stretch("<|endoftext|>", True, True)],
    ]


def test_a_special_token_s_name_in_the_text_is_no_special_token():
    ids = BYTES.specials.encode(BYTES.specials.as_text("<|endoftext|>"))
    assert pictured(ids, [False] * len(ids), BYTES) == [[Stretch("<|endoftext|>", False, False)]]


def test_marks_are_as_wide_as_the_text_on_a_terminal():
    ids = BYTES.encode("né猫!")
    [text, marks] = marked(pictured(ids, [False] * 3 + [True] * 4, BYTES))
    assert (text, marks) == ("né猫!", "..^^^")


def test_what_a_terminal_would_obey_is_written_out():
    ids = BYTES.encode("\x1b[2J\t\u202eabc")
    [text, _] = marked(pictured(ids, [False] * len(ids), BYTES))
    assert text == r"\x1b[2J⇥\u202eabc"


def test_a_decoder_that_drops_the_first_blank_drops_none_within(tmp_path):
    reference = saved_tokenizer(tmp_path / "own", eos_token="<|endoftext|>")
    tokenizer = load_tokenizer(reference, chat="none")
    tokenizer.backend.decoder = tokenizers.decoders.Sequence(
        [tokenizers.decoders.ByteLevel(), tokenizers.decoders.Fuse(), tokenizers.decoders.Strip(" ", 1, 0)]
    )
    ids = tokenizer.encode("a b c")
    assert tokenizer.decode(ids[1:2]) == ""  # the blank alone
    assert next(marked(pictured(ids, [False] * len(ids), tokenizer))) == "a b c"


@pytest.mark.parametrize("cut", [1, 2])
def test_a_character_that_the_mask_cuts_belongs_to_both_parts(cut):
    ids = BYTES.encode("猫")
    learnt = [place >= cut for place in range(3)]
    assert [stretch.is_learnt for [line] in [pictured(ids, learnt, BYTES)] for stretch in line] == [
        False,
        True,
    ]


def test_lines_are_cut_at_words_where_there_are_some():
    for text, cut in (("word " * 40, {80}), ("x" * 200, {88})):
        *whole, rest = marked(pictured(BYTES.encode(text), [True] * 200, BYTES))
        assert {len(line) for line in whole[:-1]} == cut
        assert len(rest) == 200 % cut.pop()


def test_a_token_that_begins_with_a_blank_begins_a_line():
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel({" word": 0}))
    backend.decoder = tokenizers.decoders.Fuse()
    words = dataclasses.replace(BYTES, backend=backend)
    shown = list(marked(pictured([0] * 40, [True] * 40, words)))
    assert [line.count(" word") for line in shown[::2]] == [16, 16, 8]
