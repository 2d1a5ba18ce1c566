import json
import logging
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunix_exp.data.tokenizer import END_OF_TEXT, load_tokenizer
from tunix_exp.errors import UserError

BYTES = load_tokenizer("bundled:bytes")


def saved(folder: Path, **settings) -> str:
    """A folder as transformers reads it: the byte tokenizer with `<bos>` put in front when asked to."""
    state = json.loads(BYTES.backend.to_str())
    bos = {"id": 257, "content": "<bos>", "special": True}
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    state["added_tokens"].append({**bos, **plain})
    if settings.pop("adds_bos", False):
        special = {"id": "<bos>", "ids": [257], "tokens": ["<bos>"]}
        state["post_processor"] = {
            "type": "TemplateProcessing",
            "single": [
                {"SpecialToken": {"id": "<bos>", "type_id": 0}},
                {"Sequence": {"id": "A", "type_id": 0}},
            ],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<bos>": special},
        }
    folder.mkdir()
    (folder / "tokenizer.json").write_text(json.dumps(state), encoding="utf-8")
    told = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<bos>", **settings}
    (folder / "tokenizer_config.json").write_text(json.dumps(told), encoding="utf-8")
    return str(folder)


def refusal(reference: str) -> str:
    with pytest.raises(UserError) as caught:
        load_tokenizer(reference)
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
    assert load_tokenizer("bundled:bytes").digest == BYTES.digest
    assert load_tokenizer(saved(tmp_path / "a", eos_token=END_OF_TEXT)).digest != BYTES.digest


def test_a_folder_without_padding_token_pads_with_its_end(tmp_path):
    loaded = load_tokenizer(saved(tmp_path / "a", eos_token=END_OF_TEXT))
    assert (loaded.eos_id, loaded.pad_id, loaded.bos_ids, loaded.vocab_size) == (256, 256, (), 258)
    assert loaded.encode_prompt("hi") == [104, 105]


def test_a_folder_with_padding_token_pads_with_it(tmp_path):
    loaded = load_tokenizer(saved(tmp_path / "a", eos_token=END_OF_TEXT, pad_token="<bos>"))
    assert loaded.pad_id == 257


def test_a_tokenizer_that_adds_bos_puts_exactly_one_before_a_prompt(tmp_path):
    loaded = load_tokenizer(saved(tmp_path / "a", eos_token=END_OF_TEXT, adds_bos=True))
    assert loaded.bos_ids == (257,)
    assert loaded.encode("hi") == [104, 105]
    assert loaded.encode_prompt("hi") == [257, 104, 105]
    assert loaded.encode_prompt("<bos>hi") == [257, 104, 105]


def test_a_tokenizer_without_end_token_is_refused(tmp_path):
    assert "has no end-of-sequence token" in refusal(saved(tmp_path / "a"))


def test_a_tokenizer_without_its_fast_form_is_refused(tmp_path, monkeypatch):
    from transformers import PreTrainedTokenizerFast

    monkeypatch.setattr(PreTrainedTokenizerFast, "is_fast", False)
    assert "has no tokenizer.json form" in refusal(saved(tmp_path / "a", eos_token=END_OF_TEXT))


def test_a_broken_folder_is_a_user_error(tmp_path):
    reference = saved(tmp_path / "a")
    (tmp_path / "a" / "tokenizer.json").write_text("{}", encoding="utf-8")
    assert "cannot be loaded: " in refusal(reference)


def test_a_folder_that_is_none_or_lacks_its_file_is_refused(tmp_path):
    assert "does not exist" in refusal(str(tmp_path / "none"))
    assert "holds no tokenizer.json" in refusal(str(tmp_path))
    (tmp_path / "file").touch()
    assert "is not a folder" in refusal(str(tmp_path / "file"))


def test_the_hub_out_of_reach_is_a_user_error():
    message = refusal("hub:no-such-org/no-such-model@0123456789abcdef0123456789abcdef01234567")
    assert "the tokenizer `hub:no-such-org/no-such-model@0123" in message
    assert "check the name, the commit and the network" in message


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
        "import sys; from tunix_exp.data.tokenizer import load_tokenizer; load_tokenizer('bundled:bytes');"
        "assert not {'transformers', 'jax', 'datasets'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_only_that_notice_is_unsaid_while_transformers_loads(tmp_path, monkeypatch):
    heard: list[str] = []
    logger = logging.getLogger("transformers")
    listener = logging.Handler()
    listener.emit = lambda record: heard.append(record.getMessage())

    class Speaking(ModuleType):
        def __getattr__(self, name):
            logger.warning("PyTorch was not found. Models won't be available")
            logger.warning("another warning")
            raise AttributeError(name)

    reference = saved(tmp_path / "a", eos_token=END_OF_TEXT)
    monkeypatch.setitem(sys.modules, "transformers", Speaking("transformers"))
    logger.addHandler(listener)
    try:
        with pytest.raises(ImportError):
            load_tokenizer(reference)
    finally:
        logger.removeHandler(listener)
    assert set(heard) == {"another warning"}
    assert not logger.filters


def test_the_notice_of_absent_pytorch_stays_unsaid_and_other_warnings_do_not(tmp_path):
    reference = saved(tmp_path / "a", eos_token=END_OF_TEXT)
    code = (
        "import logging; from tunix_exp.data.tokenizer import load_tokenizer;"
        f"load_tokenizer({reference!r}); logging.getLogger('transformers').warning('still heard')"
    )
    spoken = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stderr
    assert "PyTorch" not in spoken
    assert "still heard" in spoken
    assert not logging.getLogger("transformers").filters
