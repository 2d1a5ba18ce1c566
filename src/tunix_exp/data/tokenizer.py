"""Text to token ids and back, the same way for every tokenizer."""

import dataclasses
import datetime
import functools
import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tokenizers

from tunix_exp import references
from tunix_exp.data import jinja_chat
from tunix_exp.data.config import Chat
from tunix_exp.data.jinja_chat import JinjaChat
from tunix_exp.data.pretrained import FILES, Parts, from_folder, told_plainly
from tunix_exp.data.special_tokens import SpecialTokens
from tunix_exp.errors import UserError
from tunix_exp.hub import snapshot
from tunix_exp.models.chat import ChatTemplate
from tunix_exp.models.families.registry import chat_templates

END_OF_TEXT = "<|endoftext|>"
_KEY = "model.tokenizer"


@dataclass(frozen=True, slots=True)
class Tokenizer:
    """A tokenizer and its special ids.

    `bos_ids` is what stands in front of every prompt: one id, or none, as the tokenizer has it. `eos_id` ends
    a text; `end_id` ends a response, and with a chat template that is what ends a message. `vocab_size` is
    the highest id plus one. `digest` is the sha256 of the tokenizer's serialised form, `revision` the Hub's
    commit, `folder` where its files lie. `own_template` is the chat template in these files, or several
    by their names, and `variables` are what it is given.
    """

    reference: str
    revision: str | None
    eos_id: int
    end_id: int
    pad_id: int
    bos_ids: tuple[int, ...]
    vocab_size: int
    digest: str
    folder: Path | None
    backend: tokenizers.Tokenizer
    specials: SpecialTokens
    chat: ChatTemplate | JinjaChat | None = None
    own_template: str | Mapping[str, str] | None = None
    variables: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    model_end_ids: tuple[int, ...] = ()

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """The ids at which an answer ends: of the response, of the text, and those that the model names."""
        return tuple(dict.fromkeys((self.end_id, self.eos_id, *self.model_end_ids)))

    @property
    def own_chat(self) -> JinjaChat | None:
        """The chat template of the tokenizer's own files, where the config chose it."""
        return self.chat if isinstance(self.chat, JinjaChat) else None

    def stopping_at(self, model_end_ids: tuple[int, ...]) -> "Tokenizer":
        """The same, with the ids at which the model's own files say that an answer ends."""
        return dataclasses.replace(self, model_end_ids=model_end_ids)

    @property
    def special_ids(self) -> dict[str, int | list[int]]:
        """By their keys in generation_config.json: what begins a text, where something does, ends an answer,
        fills a row.
        """
        ends = list(self.stop_ids)
        return ({"bos_token_id": self.bos_ids[0]} if self.bos_ids else {}) | {
            "eos_token_id": ends if len(ends) > 1 else ends[0],
            "pad_token_id": self.pad_id,
        }

    def encode(self, text: str) -> list[int]:
        """The ids of the text, nothing added in front or behind."""
        with told_plainly(self.reference, _KEY, does="encode a text"):
            return self.backend.encode(text, add_special_tokens=False).ids

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text, as `encode` gives them, on all cores."""
        with told_plainly(self.reference, _KEY, does="encode a text"):
            encoded = self.backend.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoding.ids for encoding in encoded]

    def encode_prompt(self, text: str) -> list[int]:
        """The ids of a prompt, with exactly one `<bos>` where the tokenizer wants one."""
        return self.with_bos(self.encode(text))

    def with_bos(self, ids: list[int]) -> list[int]:
        """The ids behind `bos_ids`, once, though the text may contain `<bos>` itself."""
        begins = tuple(ids[: len(self.bos_ids)]) == self.bos_ids
        return ids if begins else [*self.bos_ids, *ids]

    def decode(self, ids: Sequence[int], *, special: bool = True) -> str:
        """The text of the ids; special tokens written out, or left out with `special=False`."""
        with told_plainly(self.reference, _KEY, does="decode what it encoded"):
            return self.backend.decode(list(ids), skip_special_tokens=not special)

    def save(self, folder: Path) -> None:
        """`folder` holds what transformers loads the tokenizer from: the files it came from, as they are."""
        if self.folder is not None:
            for file in sorted(self.folder.iterdir()):
                if file.name in FILES:
                    shutil.copyfile(file, folder / file.name)
            return
        end = self.backend.id_to_token(self.eos_id)
        config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": end, "pad_token": end}
        (folder / "tokenizer.json").write_text(self.backend.to_str(pretty=True), encoding="utf-8")
        (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")

    def check_fits(self, vocab_size: int) -> None:
        """Nothing, or UserError when the model has no row for an id of this tokenizer."""
        if self.vocab_size > vocab_size:
            raise UserError(
                f"the tokenizer has ids up to {self.vocab_size - 1}, "
                f"the model's vocabulary ends at {vocab_size - 1}",
                where="model.tokenizer and model.vocab_size",
                remedy="name the tokenizer that belongs to the model's weights",
            )


def load_tokenizer(reference: str, *, chat: Chat, date: str | None = None, key: str = _KEY) -> Tokenizer:
    """The tokenizer that the reference names, ending responses as `chat` does.

    `date` is today's, in ISO's form, to the tokenizer's own chat template.
    """
    return with_chat(_loaded(reference, key), chat=chat, date=date, key=key)


def with_chat(tokenizer: Tokenizer, *, chat: Chat, date: str | None, key: str = _KEY) -> Tokenizer:
    """The tokenizer, ending responses as `chat` does; UserError where it lacks what that needs."""
    if chat == "none":
        return tokenizer
    if chat == "tokenizer":
        own = JinjaChat(
            tokenizer.reference,
            jinja_chat.chosen(tokenizer.own_template, tokenizer.reference),
            tuple(tokenizer.variables.items()),
            tokenizer.specials,
            None if date is None else datetime.date.fromisoformat(date),
        )
        return dataclasses.replace(tokenizer, chat=own, end_id=tokenizer.specials.ids[own.ends[0]])
    template = chat_templates()[chat]
    return dataclasses.replace(tokenizer, chat=template, end_id=_end_of_message(tokenizer, template, key))


def _end_of_message(tokenizer: Tokenizer, template: ChatTemplate, key: str) -> int:
    """The id that ends a message; refuses a tokenizer for which the template's markers are plain text."""
    ids = {text: tokenizer.encode(text) for text in template.markers}
    lacking = [text for text, encoded in ids.items() if encoded != [tokenizer.backend.token_to_id(text)]]
    if lacking:
        raise UserError(
            f"the tokenizer `{tokenizer.reference}` has no token {' and no token '.join(lacking)}, "
            f"which data.template.chat={template.name} writes",
            where=f"{key} and data.template.chat",
            remedy=f"name the tokenizer of an instruction-tuned {template.name} model, or set"
            " data.template.chat=none",
        )
    return ids[template.end][0]


def _loaded(reference: str, key: str) -> Tokenizer:
    match references.parse(reference, key=key):
        case references.Bundled("bytes"):
            return _byte_tokenizer(reference)
        case references.Bundled(name):
            raise UserError(
                f"no tokenizer named `{name}` is bundled", where=key, remedy="bundled is one: bundled:bytes"
            )
        case references.Local(path):
            return _wrapped(from_folder(path, reference, key), reference, folder=path)
        case references.Hub() as pinned:
            commit, folder = snapshot.resolve(pinned, part="tokenizer")
            return _wrapped(from_folder(folder, reference, key), reference, revision=commit, folder=folder)
        case references.Random():
            raise UserError(
                "a tokenizer cannot be drawn at random",
                where=key,
                remedy="name bundled:bytes, a folder, or hub:ORG/NAME@REVISION",
            )
        case references.HeldOutRows():
            raise references.no_place_of(key)


# Once for all jobs of a sweep: the library keeps what its threads remember of a tokenizer that has encoded.
@functools.cache
def _byte_tokenizer(reference: str) -> Tokenizer:
    """One id for each byte of UTF-8, in the order of the bytes, and 256 for the end of text."""
    vocabulary = {character: byte for byte, character in enumerate(_byte_characters())}
    backend = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = tokenizers.decoders.ByteLevel()
    backend.add_special_tokens([tokenizers.AddedToken(END_OF_TEXT, special=True, normalized=False)])
    end = len(vocabulary)
    parts = Parts(backend, eos_id=end, pad_id=end, bos_ids=(), own_template=None, variables={})
    return _wrapped(parts, reference)


def _byte_characters() -> list[str]:
    """The printable character that stands for each byte in byte-level vocabularies (Radford et al. 2019)."""
    printable = {
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    }
    substitutes = iter(range(256, 512))
    return [chr(byte) if byte in printable else chr(next(substitutes)) for byte in range(256)]


def _wrapped(
    parts: Parts, reference: str, *, revision: str | None = None, folder: Path | None = None
) -> Tokenizer:
    highest = max(parts.backend.get_vocab(with_added_tokens=True).values())
    return Tokenizer(
        reference=reference,
        revision=revision,
        eos_id=parts.eos_id,
        end_id=parts.eos_id,
        pad_id=parts.pad_id,
        bos_ids=parts.bos_ids,
        vocab_size=highest + 1,
        digest=hashlib.sha256(parts.backend.to_str().encode()).hexdigest(),
        folder=folder,
        backend=parts.backend,
        specials=SpecialTokens(parts.backend),
        own_template=parts.own_template,
        variables=parts.variables,
    )
