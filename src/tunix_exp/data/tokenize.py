"""Examples to token ids, prompt and response apart, with the statistics of what was kept."""

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import astuple, dataclass

import numpy as np
from pydantic import TypeAdapter

from tunix_exp.data import cache
from tunix_exp.data.config import Learn, TooLong
from tunix_exp.data.documents import DocumentEncoder, pieces
from tunix_exp.data.encode import Encoded, Encoder
from tunix_exp.data.example import Example
from tunix_exp.data.render import Renderer
from tunix_exp.data.sources import ExampleSet
from tunix_exp.data.statistics import Fate, NamesInText, TokenStatistics, token_statistics
from tunix_exp.data.tokenizer import Tokenizer
from tunix_exp.data.tokens import Flat, Tokens, TokensWriter, mapped_flat
from tunix_exp.errors import UserError
from tunix_exp.host_memory import no_garbage_sought

_MOST_SHOWN = 10
_CHUNK = 4096


@dataclass(frozen=True, slots=True)
class Tokenized:
    """The examples that fit, in their order, and their statistics."""

    kept: Tokens
    statistics: TokenStatistics


def tokenize(
    examples: Sequence[Example],
    renderer: Renderer,
    tokenizer: Tokenizer,
    max_tokens: int,
    too_long: TooLong,
    *,
    key: str = "data",
    positions: int | None = None,
    learn: Learn = "last_turn",
) -> Tokenized:
    """Every example as prompt + response + end token, none longer than `max_tokens`.

    An example that is too long is an error, is dropped, or has tokens cut from the end of its reasoning;
    prompt, answer and end token stay whole, and if that does not do it is dropped. `key` is the config group
    that errors name: held-out items (`eval`) are limited by the model, not by a key. `positions` are the
    model's, which no longer row can help. `learn` says which of an example's tokens are learnt.
    """
    encoder: Encoder | DocumentEncoder = Encoder(renderer, tokenizer, every_turn=learn == "assistant_turns")
    bound = _Bound(max_tokens, too_long, key, positions)
    folder, key_of_tokens, table = None, None, examples
    if isinstance(examples, ExampleSet):
        table = examples.examples
        if "text" in examples.facts.fields:
            encoder = DocumentEncoder(tokenizer)
        special = [tokenizer.digest, tokenizer.bos_ids, tokenizer.end_id, tokenizer.stop_ids]
        own = None if renderer.own is None else [renderer.own.text, renderer.own.variables]
        settings = [own, renderer.template.model_dump(mode="json"), max_tokens, too_long, learn]
        folder = cache.folder_within(examples.kept_in, "tokens", *special, *settings)
        key_of_tokens = cache.key_within(examples.key, "tokens", *special, *settings)
    if folder is None:

        def anew() -> Tokenized:
            writer = TokensWriter()
            fate = _write(table, encoder, bound, learn, writer)
            return _tokenized(table, writer.flat(), fate)

        return cache.in_memory(key_of_tokens, anew)
    if not cache.is_whole(folder):
        with cache.building(folder) as made:
            writer = TokensWriter(made)
            fate = _write(table, encoder, bound, learn, writer)
            writer.flat()
            (made / _FATE).write_bytes(_FATE_OF.dump_json(fate))
    fate = _FATE_OF.validate_json((folder / _FATE).read_bytes())
    return _tokenized(table, mapped_flat(folder), fate)


_FATE, _FATE_OF = "fate.json", TypeAdapter(Fate)


@dataclass(frozen=True, slots=True)
class _Bound:
    """The most tokens of an example, what is done with those that have more, and where that is set."""

    max_tokens: int
    too_long: TooLong
    key: str
    positions: int | None


def _tokenized(examples: Sequence[Example], flat: Flat, fate: Fate) -> Tokenized:
    kept = Tokens(examples, flat)
    return Tokenized(kept, token_statistics(kept, len(examples), fate))


@no_garbage_sought()
def _write(
    examples: Sequence[Example],
    encoder: Encoder | DocumentEncoder,
    bound: _Bound,
    learn: Learn,
    writer: TokensWriter,
) -> Fate:
    max_tokens, too_long, key, positions = astuple(bound)
    misfits = _Misfits()
    shortened: list[str] = []
    dropped: list[str] = []
    names: Counter[str] = Counter()
    rows_with_names = 0
    for index, (example, encoded) in enumerate(_encoded(examples, encoder)):
        if encoded.names:
            names += encoded.names
            rows_with_names += 1
        if isinstance(encoder, DocumentEncoder):
            for ids, read_only in pieces(encoded, max_tokens):
                writer.append(index, ids, read_only, np.arange(len(ids)) >= read_only)
            continue
        fitting: Encoded | None = encoded
        if len(encoded.ids) > max_tokens:
            misfits.add(len(encoded.ids), example.place)
            fitting = encoder.shortened(example, encoded, max_tokens) if too_long == "shorten" else None
            (dropped if fitting is None else shortened).append(example.id)
        learnt_T = _learnt(example, fitting or encoded, learn)
        if fitting is not None:
            writer.append(index, fitting.ids, fitting.answers[-1][0], learnt_T)
    if misfits.count and too_long == "error":
        raise _too_long(misfits, len(examples), max_tokens, key, positions)
    if len(examples) == len(dropped):
        raise UserError(
            f"none of the {len(examples)} examples fits {max_tokens} tokens (the longest has "
            f"{misfits.longest[0][0]})",
            where=f"{key}.max_tokens",
            remedy=f"raise {key}.max_tokens (null: as much as they need and the model has), or check"
            f" {key}.source and {key}.fields",
        )
    return Fate(tuple(shortened), tuple(dropped), NamesInText(rows_with_names, dict(sorted(names.items()))))


def _encoded(
    examples: Sequence[Example], encoder: Encoder | DocumentEncoder
) -> Iterator[tuple[Example, Encoded]]:
    """Each example and its ids, some thousand at a time, of which the next are encoded meanwhile."""
    remaining = iter(examples)
    with ThreadPoolExecutor(1) as pool:

        def ahead() -> tuple[list[Example], Future[list[Encoded]]]:
            chunk = list(itertools.islice(remaining, _CHUNK))
            return chunk, pool.submit(encoder.encode, chunk)

        coming = ahead()
        while coming[0]:
            chunk, encoded = coming
            coming = ahead()
            yield from zip(chunk, encoded.result(), strict=True)


class _Misfits:
    """How many examples are too long; the lengths and places of the longest."""

    def __init__(self) -> None:
        self.count = 0
        self.longest: list[tuple[int, str]] = []

    def add(self, length: int, place: str) -> None:
        self.count += 1
        self.longest = sorted([*self.longest, (length, place)], key=lambda one: -one[0])[:_MOST_SHOWN]


def _learnt(example: Example, encoded: Encoded, learn: Learn) -> np.ndarray:
    """The marks of the tokens that are learnt; the first token is predicted from nothing, and never is."""
    answers = sum(role == "assistant" for role, _ in example.messages)
    if learn == "response" and answers > 1:
        raise UserError(
            f"{example.id} has {answers} messages of the assistant, and data.learn=response"
            " means the only one",
            where=example.place,
            remedy="set data.learn=assistant_turns to learn all of them, or data.learn=last_turn",
        )
    learnt_T = np.zeros(len(encoded.ids), dtype=bool)
    if learn == "all_tokens":
        learnt_T[1:] = True
    else:
        for start, end in encoded.answers if learn == "assistant_turns" else encoded.answers[-1:]:
            learnt_T[start:end] = True
    return learnt_T


def _too_long(misfits: _Misfits, rows: int, max_tokens: int, key: str, positions: int | None) -> UserError:
    most = misfits.longest[0][0]
    shown = "\n".join(f"  {place}: {length} tokens" for length, place in misfits.longest)
    more = f"\n  … and {misfits.count - _MOST_SHOWN} more" if misfits.count > _MOST_SHOWN else ""
    what = f"{misfits.count} of {rows} examples are longer than {max_tokens} tokens\n{shown}{more}"
    if key != "data":
        return UserError(
            what,
            where=f"{key}.source",
            remedy="no model sees more than its positions: take the longer items out, "
            "or choose a model with more positions",
        )
    if positions is not None and most > positions:
        return UserError(
            what,
            where=f"data.max_tokens, model.num_positions={positions}",
            remedy="the model sees no more positions: choose one that does (one drawn at random can be given"
            f" them: model.num_positions={most}); "
            "data.too_long=shorten cuts reasoning, data.too_long=drop leaves them out",
        )
    return UserError(
        what,
        where="data.max_tokens",
        remedy=f"data.max_tokens={most} holds them all; "
        "data.too_long=shorten cuts reasoning, data.too_long=drop leaves them out",
    )
