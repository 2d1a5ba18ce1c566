import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from tunix_exp.data.special_tokens import SpecialTokens
from tunix_exp.errors import UserError

NAMES = ("<eos>", "<a>", "<a><b>", "<pad>")


def byte_level(*added: tokenizers.AddedToken, prefix: bool = False) -> tokenizers.Tokenizer:
    """A byte-level tokenizer that joins nothing; with `prefix` a text has a space put in front."""
    letters = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: place for place, letter in enumerate(letters)}
    backend = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=False)
    backend.decoder = tokenizers.decoders.ByteLevel()
    backend.add_special_tokens(
        [tokenizers.AddedToken(name, special=True, normalized=False) for name in NAMES] + list(added)
    )
    backend.add_tokens([tokenizers.AddedToken("<think>", special=False, normalized=False)])
    return backend


BACKEND = byte_level(
    tokenizers.AddedToken("<strip>", special=True, normalized=False, lstrip=True, rstrip=True)
)
SPECIALS = SpecialTokens(BACKEND)
CONTROL = {BACKEND.token_to_id(name) for name in SPECIALS.tokens}
PARTS = st.sampled_from([*NAMES, "<strip>", "<think>", "<", ">", " ", "\ufdd0", "\ufdd0\ufdd1"])
TEXTS = st.lists(PARTS | st.text(max_size=3)).map("".join)


@given(TEXTS)
def test_broken_text_makes_no_special_token_and_comes_back(text):
    ids = SPECIALS.encode(SPECIALS.as_text(text))
    assert not CONTROL & set(ids)
    assert BACKEND.decode(ids, skip_special_tokens=False) == text


@given(TEXTS, TEXTS)
def test_a_template_s_tokens_stay_tokens_around_broken_text(text, more):
    whole = f"<eos>{SPECIALS.as_text(text)}<a><b>{SPECIALS.as_text(more)}<pad>"
    ids = SPECIALS.encode(whole)
    eos, pair, pad = (BACKEND.token_to_id(name) for name in ("<eos>", "<a><b>", "<pad>"))
    assert [id_ for id_ in ids if id_ in CONTROL] == [eos, pair, pad]
    assert BACKEND.decode(ids, skip_special_tokens=False) == f"<eos>{text}<a><b>{more}<pad>"


@given(st.lists(st.sampled_from([*NAMES, "<strip>", "<think>", " ", "x", "\n"])).map("".join))
@pytest.mark.parametrize("prefix", [False, True])
def test_text_without_breaks_is_encoded_as_the_tokenizer_does(prefix, text):
    backend = byte_level(
        tokenizers.AddedToken("<strip>", special=True, normalized=False, lstrip=True, rstrip=True),
        prefix=prefix,
    )
    assert SpecialTokens(backend).encode(text) == backend.encode(text, add_special_tokens=False).ids


def test_an_added_token_that_is_not_special_stays_a_token():
    assert SPECIALS.encode(SPECIALS.as_text("<think>")) == [BACKEND.token_to_id("<think>")]


def test_names_are_counted_the_longest_first():
    assert SPECIALS.count(["<a><b> <a>", "<eos><think>"]) == {"<a><b>": 1, "<a>": 1, "<eos>": 1}


def test_fenced_text_makes_no_name_with_what_stands_beside_it():
    assert SPECIALS.encode("<eos>") == [BACKEND.token_to_id("<eos>")]
    assert not CONTROL & set(SPECIALS.encode("<" + SPECIALS.fenced("eos") + ">"))


def test_a_name_in_another_case_is_a_name_where_the_tokenizer_changes_cases():
    backend = byte_level(tokenizers.AddedToken("<low>", special=True, normalized=True))
    backend.normalizer = tokenizers.normalizers.Lowercase()
    specials, low = SpecialTokens(backend), backend.token_to_id("<low>")
    assert low in backend.encode("<LOW>", add_special_tokens=False).ids
    assert low not in specials.encode(specials.as_text("<LOW>"))
    assert specials.encode("<LOW>") == [low]


def test_a_tokenizer_that_makes_the_token_of_plain_text_is_refused():
    vocabulary = [("<unk>", 0.0), ("</s>", -1.0), ("a", -2.0)]
    backend = tokenizers.Tokenizer(tokenizers.models.Unigram(vocabulary, 0))
    backend.add_special_tokens([tokenizers.AddedToken("</s>", special=True, normalized=False)])
    specials = SpecialTokens(backend)
    with pytest.raises(
        UserError, match="the text </s> is the special token </s> to this tokenizer"
    ) as caught:
        specials.encode(specials.as_text("a</s>"))
    assert "take </s> out of the data's text" in str(caught.value)


def test_code_points_that_stand_for_tokens_while_encoding_are_refused():
    with pytest.raises(UserError, match="code points that stand for special tokens") as caught:
        SPECIALS.encode(SPECIALS.as_text("<eos>\ufdd300\ufdd4"))
    assert "take these noncharacters of Unicode out of the text" in str(caught.value)
