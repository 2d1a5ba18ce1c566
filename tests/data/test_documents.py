"""Plain text: every token of every document is learnt once, however it is cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.data.toys import data_config, saved_tokenizer
from tunix_exp.data import sources
from tunix_exp.data.batches import Batches
from tunix_exp.data.documents import DocumentEncoder, pieces
from tunix_exp.data.encode import Encoded
from tunix_exp.data.example import Example
from tunix_exp.data.mixture import Weighted
from tunix_exp.data.render import Renderer
from tunix_exp.data.tokenize import tokenize
from tunix_exp.data.tokenizer import END_OF_TEXT, load_tokenizer

BYTES = load_tokenizer("bundled:bytes", chat="none")
TEXTS = ["A short one.", "A longer one, " + "and on " * 40 + "to its end.", "größer 🙂"]


def document(text: str) -> Example:
    return Example("d-1", "", (), text, None, None, None, "toy.txt:1")


@given(st.integers(1, 200), st.integers(2, 50))
def test_the_pieces_hold_every_token_once_and_one_of_context(length, most):
    encoded = Encoded(list(range(length + 1)), ((1, length + 1),), None)
    found = list(pieces(encoded, most))
    assert all(len(ids) <= most for ids, _ in found)
    assert [token for ids, read_only in found for token in ids[read_only:]] == list(range(1, length + 1))
    assert all(ids[0] == ids[1] - 1 for ids, _ in found)  # what precedes a piece is what is read before it


@pytest.mark.parametrize("batching", ["padded", "packed"])
def test_a_documents_tokens_are_all_in_the_batches_of_an_epoch(toy, batching):
    path = toy(*({"text": text} for text in TEXTS))
    examples = sources.read(data_config(path, question=None, answer=None))
    made = tokenize(examples, Renderer(data_config(path).template), BYTES, 64, "error")
    assert (made.statistics.rows_read, made.statistics.rows_kept) == (3, 3)
    assert made.statistics.pieces == len(made.kept) > 3
    learnt = sum(len(text.encode()) + 1 for text in TEXTS)  # and the end of each
    assert made.kept.flat.learnt_N.sum() == learnt
    batches = Batches(
        [Weighted(made.kept)],
        seed=0,
        batch_size=1,
        max_tokens=64,
        pad_id=256,
        batching=batching,
        bucket_widths=None,
    )
    steps = batches.statistics().rows
    found = [batches[step] for step in range(steps)]
    assert sum(int(batch.loss_mask_BT.sum()) for batch in found) == learnt
    ends = sum(int(((batch.tokens_BT == 256) & batch.loss_mask_BT).sum()) for batch in found)
    assert ends == len(TEXTS)


def test_a_document_begins_with_what_begins_a_text_and_its_text_is_text(tmp_path):
    named = load_tokenizer(saved_tokenizer(tmp_path / "t", eos_token=END_OF_TEXT, adds_bos=True), chat="none")
    (encoded,) = DocumentEncoder(named).encode([document(f"a{END_OF_TEXT}<bos>b")])
    assert encoded.ids[0] == 257
    assert encoded.ids[-1] == 256
    assert not {256, 257} & set(encoded.ids[1:-1])
    assert encoded.names == {END_OF_TEXT: 1, "<bos>": 1}
    (plain,) = DocumentEncoder(BYTES).encode([document("ab")])
    assert plain.ids == [256, ord("a"), ord("b"), 256]
