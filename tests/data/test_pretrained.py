import logging
import subprocess
import sys
from types import ModuleType

import pytest

from tests.data.toys import saved_tokenizer
from tunix_exp.data.tokenizer import END_OF_TEXT, load_tokenizer
from tunix_exp.errors import Interrupted, UserError


def refusal(reference: str) -> str:
    with pytest.raises(UserError) as caught:
        load_tokenizer(reference, chat="none")
    return str(caught.value)


def test_a_tokenizer_without_end_token_is_refused(tmp_path):
    assert "has no end-of-sequence token" in refusal(saved_tokenizer(tmp_path / "a"))


def test_a_tokenizer_without_its_fast_form_is_refused(tmp_path, monkeypatch):
    from transformers import PreTrainedTokenizerFast

    monkeypatch.setattr(PreTrainedTokenizerFast, "is_fast", False)
    assert "has no tokenizer.json form" in refusal(saved_tokenizer(tmp_path / "a", eos_token=END_OF_TEXT))


def test_a_broken_folder_is_a_user_error(tmp_path):
    reference = saved_tokenizer(tmp_path / "a")
    (tmp_path / "a" / "tokenizer.json").write_text("{}", encoding="utf-8")
    assert "cannot be loaded: " in refusal(reference)


def test_a_folder_that_is_none_or_lacks_its_file_is_refused(tmp_path):
    assert "does not exist" in refusal(str(tmp_path / "none"))
    assert "holds no tokenizer.json" in refusal(str(tmp_path))
    (tmp_path / "file").touch()
    assert "is not a folder" in refusal(str(tmp_path / "file"))


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

    reference = saved_tokenizer(tmp_path / "a", eos_token=END_OF_TEXT)
    monkeypatch.setitem(sys.modules, "transformers", Speaking("transformers"))
    logger.addHandler(listener)
    try:
        with pytest.raises(ImportError):
            load_tokenizer(reference, chat="none")
    finally:
        logger.removeHandler(listener)
    assert set(heard) == {"another warning"}
    assert not logger.filters


def test_the_notice_of_absent_pytorch_stays_unsaid_and_other_warnings_do_not(tmp_path):
    reference = saved_tokenizer(tmp_path / "a", eos_token=END_OF_TEXT)
    code = (
        "import logging; from tunix_exp.data.tokenizer import load_tokenizer;"
        f"load_tokenizer({reference!r}, chat='none');"
        "logging.getLogger('transformers').warning('still heard')"
    )
    spoken = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stderr
    assert "PyTorch" not in spoken
    assert "still heard" in spoken
    assert not logging.getLogger("transformers").filters


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("tokenizer.json", b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer"),
        ("tokenizer_config.json", b'{"a": 1,\n"b" 2}', "tokenizer_config.json, line 2"),
        ("tokenizer_config.json", b"[]", "tokenizer_config.json holds a list"),
        ("special_tokens_map.json", b'{"a": 1, "a": 2}', "special_tokens_map.json has the key `a` twice"),
        ("config.json", b"\xff", "config.json is not UTF-8 (byte 0)"),
        ("config.json", b"\xef\xbb\xbf{}", "config.json begins with a byte-order mark"),
    ],
)
def test_a_broken_file_of_a_folder_is_named_with_its_line(tmp_path, name, content, says):
    reference = saved_tokenizer(tmp_path / "a", eos_token=END_OF_TEXT)
    (tmp_path / "a" / name).write_bytes(content)
    assert says in refusal(reference)


def test_code_of_a_stranger_is_neither_run_nor_asked_about(tmp_path):
    told = {"AutoTokenizer": [None, "theirs.Theirs"]}
    reference = saved_tokenizer(
        tmp_path / "a", eos_token=END_OF_TEXT, auto_map=told, tokenizer_class="Theirs"
    )
    (tmp_path / "a" / "theirs.py").write_text("raise SystemExit('run')")
    assert "cannot be loaded" in refusal(reference)


def test_a_panic_of_the_library_is_told_plainly_and_an_interrupt_is_left_alone(tmp_path, monkeypatch):
    from transformers import AutoTokenizer

    reference = saved_tokenizer(tmp_path / "a", eos_token=END_OF_TEXT)
    panic = type("PanicException", (BaseException,), {})
    for error in (panic("index out of bounds"), KeyboardInterrupt(), Interrupted("asked to stop")):

        def fail(*arguments, error=error, **named):
            raise error

        monkeypatch.setattr(AutoTokenizer, "from_pretrained", fail)
        if isinstance(error, panic):
            assert "cannot be loaded: PanicException: index out of bounds" in refusal(reference)
        else:
            with pytest.raises(type(error)):
                load_tokenizer(reference, chat="none")
