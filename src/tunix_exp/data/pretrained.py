"""A tokenizer as transformers loads it from a folder."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tokenizers

from tunix_exp.errors import Interrupted, UserError
from tunix_exp.json_text import printable
from tunix_exp.received import file_in, read_object, unreadable

# What transformers may save of a tokenizer, and load it from.
FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
)
# Those of them that are small, and the model's own, by whose type transformers chooses a tokenizer's class.
_SETTINGS = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "config.json")
_NEEDLESS_NOTICE = "PyTorch was not found"


@dataclass(frozen=True, slots=True)
class Parts:
    """What a folder says of its tokenizer: the ids that end, fill and begin a text, and its chat template.

    `own_template` is that template, or several by their names, and `variables` what they are given.
    """

    backend: tokenizers.Tokenizer
    eos_id: int
    pad_id: int
    bos_ids: tuple[int, ...]
    own_template: str | Mapping[str, str] | None
    variables: Mapping[str, Any]


def from_folder(path: Path, reference: str, key: str) -> Parts:
    """The tokenizer of the folder's files, no code of which is run; UserError for what is none."""
    _check_files(path, reference, key)
    auto_tokenizer = _auto_tokenizer()
    with told_plainly(reference, key):
        pretrained: Any = auto_tokenizer.from_pretrained(
            str(path), use_fast=True, local_files_only=True, trust_remote_code=False
        )
        return _of_pretrained(pretrained, reference, key)


def _check_files(path: Path, reference: str, key: str) -> None:
    """The folder holds tokenizer.json, and small files that are JSON; else UserError with file and line."""
    try:
        is_there, is_folder = path.exists(), path.is_dir()
    except OSError as error:
        raise unreadable(path, error) from error
    if not is_folder:
        raise UserError(
            f"`{path}` is not a folder" if is_there else f"the folder `{path}` does not exist",
            where=key,
            remedy="name the folder that holds tokenizer.json, or bundled:bytes",
        )
    if file_in(path, "tokenizer.json") is None:
        # From other files transformers builds something close, which may encode tabs differently.
        raise UserError(
            f"`{reference}` holds no tokenizer.json",
            where=key,
            remedy="load it once with transformers, and name the folder that its save_pretrained() writes",
        )
    for name in FILES[1:]:
        file_in(path, name)
    for name in _SETTINGS:
        file = file_in(path, name)
        if file is not None:
            read_object(file)


@contextmanager
def told_plainly(reference: str, key: str, *, does: str = "be loaded") -> Iterator[None]:
    """What the libraries raise inside is a UserError: each of it means that the files are no tokenizer's."""
    try:
        yield
    # Errors of a dozen packages, and the panic of the one in Rust, which is no Exception.
    except BaseException as error:
        is_panic = type(error).__name__ == "PanicException"
        if isinstance(error, UserError | Interrupted) or not (isinstance(error, Exception) or is_panic):
            raise
        said = printable((str(error).strip().splitlines() or [""])[0])
        raise UserError(
            f"the tokenizer `{reference}` cannot {does}: {type(error).__name__}: {said}",
            where=key,
            remedy="its files are damaged, or no tokenizer's: save them again with save_pretrained()",
        ) from error


def _of_pretrained(pretrained: Any, reference: str, key: str) -> Parts:
    if not pretrained.is_fast:
        raise UserError(
            f"the tokenizer `{reference}` has no tokenizer.json form",
            where=key,
            remedy="convert it once with transformers and name the saved folder",
        )
    if pretrained.eos_token_id is None:
        raise UserError(
            f"the tokenizer `{reference}` has no end-of-sequence token: nothing would teach stopping",
            where=key,
            remedy="set eos_token in its tokenizer_config.json",
        )
    eos_id: int = pretrained.eos_token_id
    pad_id = eos_id if pretrained.pad_token_id is None else pretrained.pad_token_id
    with_specials: list[int] = pretrained("a", add_special_tokens=True)["input_ids"]
    bos_id: int | None = pretrained.bos_token_id
    backend: tokenizers.Tokenizer = pretrained.backend_tokenizer
    backend.no_padding()
    backend.no_truncation()
    bos_ids = (bos_id,) if bos_id is not None and with_specials[:1] == [bos_id] else ()
    return Parts(
        backend=backend,
        eos_id=eos_id,
        pad_id=pad_id,
        bos_ids=bos_ids,
        own_template=pretrained.chat_template,
        variables=dict(pretrained.special_tokens_map),
    )


def _auto_tokenizer() -> Any:
    """AutoTokenizer of transformers; its notice that PyTorch is absent, which is meant, stays unsaid."""

    def is_needed(record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith(_NEEDLESS_NOTICE)

    logger = logging.getLogger("transformers")
    logger.addFilter(is_needed)
    try:
        from transformers import AutoTokenizer
    finally:
        logger.removeFilter(is_needed)
    return AutoTokenizer
