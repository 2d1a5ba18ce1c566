import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.data.toys import TURNS, saved_tokenizer
from tunix_exp.data.config import Chat
from tunix_exp.data.tokenizer import END_OF_TEXT, load_tokenizer
from tunix_exp.errors import UserError
from tunix_exp.hub import snapshot

BYTES = load_tokenizer("bundled:bytes", chat="none")


def refusal(reference: str, chat: Chat = "none") -> str:
    with pytest.raises(UserError) as caught:
        load_tokenizer(reference, chat=chat)
    return str(caught.value)


@given(st.text())
def test_bytes_are_their_own_ids_and_come_back(text):
    if END_OF_TEXT not in text:
        assert BYTES.encode(text) == list(text.encode())
        assert BYTES.decode(BYTES.encode(text)) == text


def test_the_byte_tokenizer_ends_with_the_end_of_text():
    assert (BYTES.eos_id, BYTES.pad_id, BYTES.bos_ids, BYTES.vocab_size) == (256, 256, (), 257)
    assert BYTES.decode([97, 256]) == "a<|endoftext|>"
    assert BYTES.decode([97, 256], special=False) == "a"


def test_many_texts_are_encoded_as_each_is():
    texts = ["a", "", "naïve\n"]
    assert BYTES.encode_all(texts) == [BYTES.encode(text) for text in texts]


def test_the_digest_tells_tokenizers_apart(tmp_path):
    assert load_tokenizer("bundled:bytes", chat="none").digest == BYTES.digest
    assert (
        load_tokenizer(saved_tokenizer(tmp_path / "a", eos_token=END_OF_TEXT), chat="none").digest
        != BYTES.digest
    )


def test_a_folder_without_padding_token_pads_with_its_end(tmp_path):
    loaded = load_tokenizer(saved_tokenizer(tmp_path / "a", eos_token=END_OF_TEXT), chat="none")
    assert (loaded.eos_id, loaded.pad_id, loaded.bos_ids, loaded.vocab_size) == (256, 256, (), 258)
    assert loaded.encode_prompt("hi") == [104, 105]


def test_a_folder_with_padding_token_pads_with_it(tmp_path):
    loaded = load_tokenizer(
        saved_tokenizer(tmp_path / "a", eos_token=END_OF_TEXT, pad_token="<bos>"), chat="none"
    )
    assert loaded.pad_id == 257


def test_a_tokenizer_that_adds_bos_puts_exactly_one_before_a_prompt(tmp_path):
    loaded = load_tokenizer(
        saved_tokenizer(tmp_path / "a", eos_token=END_OF_TEXT, adds_bos=True), chat="none"
    )
    assert loaded.bos_ids == (257,)
    assert loaded.encode("hi") == [104, 105]
    assert loaded.encode_prompt("hi") == [257, 104, 105]
    assert loaded.encode_prompt("<bos>hi") == [257, 104, 105]


def test_the_hub_out_of_reach_is_a_user_error():
    message = refusal("hub:no-such-org/no-such-model@0123456789abcdef0123456789abcdef01234567")
    assert "the Hub cannot be reached, and no-such-org/no-such-model at 0123" in message
    assert "(model.tokenizer)" in message
    assert "name a folder in model.tokenizer" in message


def test_a_pinned_tokenizer_is_the_folder_of_its_commit(tmp_path, monkeypatch):
    folder = saved_tokenizer(tmp_path / "a", eos_token=END_OF_TEXT)
    asked = []

    def resolve(reference, *, part):
        asked.append((reference.repo, reference.revision, part))
        return snapshot.Snapshot("0123abcd", Path(folder))

    monkeypatch.setattr(snapshot, "resolve", resolve)
    loaded = load_tokenizer("hub:org/name@main", chat="none")
    assert asked == [("org/name", "main", "tokenizer")]
    assert (loaded.reference, loaded.revision) == ("hub:org/name@main", "0123abcd")
    assert loaded.digest == load_tokenizer(folder, chat="none").digest


def test_a_repository_without_tokenizer_json_is_refused_by_its_name(tmp_path, monkeypatch):
    monkeypatch.setattr(snapshot, "resolve", lambda *_, **__: snapshot.Snapshot("0123", tmp_path))
    message = refusal("hub:org/name@main")
    assert "`hub:org/name@main` holds no tokenizer.json" in message
    assert "the folder that its save_pretrained() writes" in message


def test_a_response_ends_with_the_text_or_in_a_chat_with_the_turn(tmp_path):
    folder = saved_tokenizer(tmp_path / "a", *TURNS, eos_token=END_OF_TEXT)
    plain, chat = load_tokenizer(folder, chat="none"), load_tokenizer(folder, chat="gemma")
    assert (plain.eos_id, plain.end_id, plain.stop_ids) == (256, 256, (256,))
    assert (chat.eos_id, chat.end_id, chat.stop_ids) == (256, 259, (259, 256))
    assert chat.encode("<start_of_turn>hi<end_of_turn>") == [258, 104, 105, 259]


def test_a_turn_s_end_that_is_also_the_text_s_end_stands_once_among_the_stops(tmp_path):
    folder = saved_tokenizer(tmp_path / "a", *TURNS, eos_token="<end_of_turn>")
    assert load_tokenizer(folder, chat="gemma").stop_ids == (259,)


def test_a_chat_with_a_tokenizer_without_turns_is_refused_with_both_keys(tmp_path):
    message = refusal("bundled:bytes", chat="gemma")
    assert "`bundled:bytes` has no token <start_of_turn> and no token <end_of_turn>, which" in message
    assert "where: model.tokenizer and data.template.chat" in message
    assert "set data.template.chat=none" in message
    half = saved_tokenizer(tmp_path / "a", "<start_of_turn>", eos_token=END_OF_TEXT)
    assert "has no token <end_of_turn>, which data.template.chat=gemma writes" in refusal(half, chat="gemma")


def test_unknown_and_random_tokenizers_are_refused():
    assert "no tokenizer named `words` is bundled" in refusal("bundled:words")
    assert "cannot be drawn at random" in refusal("random")


def test_a_model_with_too_few_rows_is_refused():
    BYTES.check_fits(257)
    with pytest.raises(
        UserError, match="the tokenizer has ids up to 256, the model's vocabulary ends at 255"
    ):
        BYTES.check_fits(256)


def test_the_byte_tokenizer_loads_without_transformers():
    code = (
        "import sys; from tunix_exp.data.tokenizer import load_tokenizer;"
        "load_tokenizer('bundled:bytes', chat='none');"
        "assert not {'transformers', 'jax', 'datasets'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("kind", ["bytes", "folder"])
def test_a_saved_tokenizer_is_the_same_again(kind, tmp_path):
    (tmp_path / "out").mkdir()
    reference = "bundled:bytes" if kind == "bytes" else saved_tokenizer(tmp_path / "a", eos_token=END_OF_TEXT)
    tokenizer = load_tokenizer(reference, chat="none")
    tokenizer.save(tmp_path / "out")
    again = load_tokenizer(str(tmp_path / "out"), chat="none")
    assert again.encode("Größe 12") == tokenizer.encode("Größe 12")
    for name in ("eos_id", "end_id", "pad_id", "bos_ids", "vocab_size"):
        assert getattr(again, name) == getattr(tokenizer, name)
    if kind == "folder":
        files = {file.name: file.read_bytes() for file in (tmp_path / "a").iterdir()}
        assert {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()} == files


def test_the_special_ids_are_told_by_generation_s_keys(tmp_path):
    folder = saved_tokenizer(tmp_path / "a", *TURNS, eos_token=END_OF_TEXT, adds_bos=True)
    tokenizer = load_tokenizer(folder, chat="gemma")
    assert tokenizer.special_ids == {
        "bos_token_id": tokenizer.bos_ids[0],
        "eos_token_id": [tokenizer.end_id, tokenizer.eos_id],
        "pad_token_id": tokenizer.pad_id,
    }
    plain = load_tokenizer("bundled:bytes", chat="none")
    assert plain.special_ids == {"eos_token_id": 256, "pad_token_id": 256}


def test_an_answer_also_ends_where_the_model_s_files_say_so(tmp_path):
    tokenizer = load_tokenizer(saved_tokenizer(tmp_path / "a", *TURNS, eos_token=END_OF_TEXT), chat="none")
    assert tokenizer.stopping_at((256, 259)).stop_ids == (256, 259)
    assert tokenizer.stopping_at(()).stop_ids == (256,)


def test_the_bundled_tokenizer_is_one_for_all_the_jobs_of_a_process():
    one, other = (load_tokenizer("bundled:bytes", chat="none") for _ in range(2))
    assert one.backend is other.backend
