"""Large files are read and tokenised once, and found again by their content."""

import numpy as np
import pytest

from tests.data.toys import TEMPLATE, data_config
from tunix_exp.data import cache, sources
from tunix_exp.data.render import Renderer
from tunix_exp.data.tokenize import Tokenized, tokenize
from tunix_exp.data.tokenizer import load_tokenizer
from tunix_exp.errors import UserError

BYTES = load_tokenizer("bundled:bytes", chat="none")
ROWS = [{"q": f"{number}?", "a": "x" * number, "c": "k"} for number in range(1, 9)]


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """The cache's folder; every file is large enough for it."""
    monkeypatch.setenv("TUNIX_EXP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "_LEAST_BYTES", 0)
    return tmp_path / "cache" / "data"


def made(path, too_long="error", most=64, **fields) -> tuple[sources.ExampleSet, Tokenized]:
    examples = sources.read(data_config(path, **fields))
    return examples, tokenize(examples, Renderer(TEMPLATE), BYTES, most, too_long)


def same(one: Tokenized, other: Tokenized) -> bool:
    arrays = zip(one.kept.flat, other.kept.flat, strict=True)
    return all(np.array_equal(*pair) for pair in arrays) and one.statistics == other.statistics


@pytest.fixture
def unread(monkeypatch):
    """Nothing is parsed or encoded after the call."""

    def forbid():
        def refuse(*words, **named):
            raise AssertionError("read again")

        monkeypatch.setattr(sources.RowReader, "example", refuse)
        monkeypatch.setattr("tunix_exp.data.encode.Encoder.encode", refuse)

    return forbid


@pytest.mark.parametrize(("too_long", "most"), [("error", 64), ("drop", 14)])
def test_the_second_time_is_the_first_without_reading(toy, kept, unread, monkeypatch, too_long, most):
    path = toy(*ROWS)
    first = made(path, too_long, most, category="c")
    unread()
    second = made(path, too_long, most, category="c")
    assert list(first[0]) == list(second[0])
    assert first[0].facts == second[0].facts
    assert same(first[1], second[1])
    monkeypatch.undo()
    monkeypatch.setenv("TUNIX_EXP_CACHE", "")
    assert same(first[1], made(path, too_long, most, category="c")[1])


def test_another_template_makes_other_tokens(toy, kept):
    path = toy(*ROWS)
    first = made(path)[1]
    other = TEMPLATE.model_copy(update={"prompt": "Q {question}\n"})
    second = tokenize(sources.read(data_config(path)), Renderer(other), BYTES, 64, "error")
    assert not same(first, second)
    assert BYTES.decode(second.kept[0].tokens_T.tolist()).startswith("Q 1?")


@pytest.mark.parametrize("batch", [1, 3])
def test_arrays_are_the_same_however_often_they_are_written(toy, kept, monkeypatch, batch):
    path = toy(*ROWS)
    monkeypatch.setenv("TUNIX_EXP_CACHE", "")
    whole = made(path)[1]
    monkeypatch.setattr("tunix_exp.data.tokens._BATCH", batch)
    assert same(whole, made(path)[1])
    monkeypatch.setenv("TUNIX_EXP_CACHE", str(kept.parent))
    assert same(whole, made(path)[1])


def test_other_content_or_settings_are_read_anew(toy, kept, unread):
    path = toy(*ROWS)
    made(path)
    path.write_bytes(path.read_bytes().replace(b"1?", b"one?"))
    assert made(path)[0][0].question == "one?"
    unread()
    with pytest.raises(AssertionError, match="read again"):
        made(path, "drop")  # the rows are there, their tokens are not
    with pytest.raises(AssertionError, match="read again"):
        made(path, category="c")


@pytest.mark.parametrize("name", ["examples.arrow", "facts.json", "tokens_N", "fate.json", "whole.json"])
def test_what_was_damaged_since_is_made_anew(toy, kept, name):
    path = toy(*ROWS)
    first = made(path)
    (file,) = kept.glob(f"*/{name}") if name != "whole.json" else sorted(kept.glob("*/whole.json"))[:1]
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.unlink()  # what is mapped of it stays as it was
    file.write_bytes(content)
    second = made(path)
    assert list(first[0]) == list(second[0])
    assert same(first[1], second[1])


def test_a_reading_that_fails_leaves_nothing(toy, kept):
    with pytest.raises(UserError, match="bad JSON"):
        made(toy(*ROWS, "{"))
    assert list(kept.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_named_with_the_remedy(toy, kept):
    kept.parent.mkdir()
    kept.write_text("a file")
    with pytest.raises(UserError, match="the cache of read data cannot be written") as caught:
        made(toy(*ROWS))
    assert "TUNIX_EXP_CACHE=FOLDER" in caught.value.remedy


def test_small_files_are_not_kept(toy, kept, monkeypatch):
    monkeypatch.setattr(cache, "_LEAST_BYTES", 2**24)
    made(toy(*ROWS))
    assert not kept.exists()


def test_of_small_files_the_newest_stay_in_memory(toy, unread, monkeypatch):
    monkeypatch.setattr(cache, "_in_memory", {})
    path = toy(*ROWS)
    first = made(path)
    path.write_bytes(path.read_bytes().replace(b"1?", b"one?"))
    assert made(path)[0][0].question == "one?"
    path.write_bytes(path.read_bytes().replace(b"one?", b"1?"))
    unread()
    second = made(path)
    assert list(first[0]) == list(second[0])
    assert first[0].facts == second[0].facts
    assert same(first[1], second[1])
    assert len(cache._in_memory) == 4
    with pytest.raises(AssertionError, match="read again"):
        made(path, "drop")  # the rows are there, their tokens are not
    monkeypatch.setattr(cache, "_LEAST_BYTES", 0)
    with pytest.raises(AssertionError, match="read again"):
        made(path)  # too large by now


def test_the_users_cache_folder_is_the_default(monkeypatch, tmp_path):
    monkeypatch.delenv("TUNIX_EXP_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(cache, "_LEAST_BYTES", 0)
    (tmp_path / "rows").write_text("x")
    folder = cache.folder_for([tmp_path / "rows"])
    assert folder is not None
    assert folder.parent == tmp_path / "tunix_exp" / "data"
