"""Examples to token ids, prompt and response apart, with the statistics of what was kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from tunix_exp.data.example import Example
from tunix_exp.data.render import Renderer
from tunix_exp.data.tokenizer import Tokenizer
from tunix_exp.errors import UserError

TooLong = Literal["error", "drop", "shorten"]

_MOST_SHOWN = 10


@dataclass(frozen=True, slots=True, eq=False)
class TokenizedExample:
    """An example as `tokens_T`, int32: `prompt_length` of prompt, then the response, then the end token.

    In `learnt_T`, bool, the tokens are marked that training predicts. The response is the last message of a
    conversation, and all before it the prompt, which may hold tokens that are learnt as well.
    """

    example: Example
    tokens_T: np.ndarray
    prompt_length: int
    learnt_T: np.ndarray

    @property
    def response_length(self) -> int:
        """The number of the response's tokens, the end token included."""
        return len(self.tokens_T) - self.prompt_length


@dataclass(frozen=True, slots=True)
class Lengths:
    """Token counts over the kept examples."""

    min: int
    mean: float
    p50: float
    p95: float
    max: int


@dataclass(frozen=True, slots=True)
class TokenStatistics:
    """What became of the rows, and how long the kept ones are; the `_ids` name the others."""

    rows_read: int
    rows_kept: int
    rows_shortened: int
    rows_dropped: int
    prompt_tokens: Lengths
    response_tokens: Lengths
    total_tokens: Lengths
    supervised_share: float
    shortened_ids: tuple[str, ...]
    dropped_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Tokenized:
    """The examples that fit, in their order, and their statistics."""

    kept: tuple[TokenizedExample, ...]
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
) -> Tokenized:
    """Every example as prompt + response + end token, none longer than `max_tokens`.

    Prompt and response are tokenised apart, so that the prompt which evaluation sees is, token for token,
    training's prefix. An example that is too long is an error, is dropped, or has tokens cut from the end of
    its reasoning; prompt, answer and end token stay whole, and if that does not do it is dropped. `key` is
    the config group that errors name: held-out items (`eval`) are limited by the model, not by a key.
    `positions` are the model's, which no longer row can help.
    """
    prompts = encode_prompts(examples, renderer, tokenizer)
    responses = tokenizer.encode_all([renderer.response(example) for example in examples])
    kept: list[TokenizedExample] = []
    shortened: list[str] = []
    dropped: list[str] = []
    misfits: list[tuple[Example, int]] = []
    for example, prompt, encoded in zip(examples, prompts, responses, strict=True):
        _refuse_stray_specials(example, encoded, tokenizer)
        response: list[int] | None = [*encoded, tokenizer.end_id]
        if len(prompt) + len(response) > max_tokens:
            misfits.append((example, len(prompt) + len(response)))
            room = max_tokens - len(prompt)
            response = _shorten(example, renderer, tokenizer, room) if too_long == "shorten" else None
            (dropped if response is None else shortened).append(example.id)
        if response is not None:
            tokens_T = np.array([*prompt, *response], dtype=np.int32)
            learnt_T = np.arange(len(tokens_T)) >= len(prompt)
            kept.append(TokenizedExample(example, tokens_T, len(prompt), learnt_T))
    if misfits and too_long == "error":
        raise _too_long(misfits, len(examples), max_tokens, key, positions)
    if not kept:
        longest = max((length for _, length in misfits), default=0)
        raise UserError(
            f"none of the {len(examples)} examples fits {max_tokens} tokens (the longest has {longest})",
            where=f"{key}.max_tokens",
            remedy=f"raise {key}.max_tokens (null: as much as they need and the model has), or check"
            f" {key}.source and {key}.fields",
        )
    return Tokenized(tuple(kept), _statistics(kept, len(examples), shortened, dropped))


def encode_prompts(examples: Sequence[Example], renderer: Renderer, tokenizer: Tokenizer) -> list[list[int]]:
    """The prompt ids of each example, as training and evaluation both see them."""
    encoded = tokenizer.encode_all([renderer.prompt(example) for example in examples])
    prompts = [tokenizer.with_bos(ids) for ids in encoded]
    for example, ids in zip(examples, prompts, strict=True):
        if not ids:
            raise UserError(
                "the prompt has no tokens",
                where=example.place,
                remedy="check the question and data.template.prompt",
            )
        if any(ids.count(bos) > 1 for bos in tokenizer.bos_ids):
            raise UserError(
                f"the prompt has {ids.count(tokenizer.bos_ids[0])} begin-of-sequence tokens, not one",
                where=example.place,
                remedy="take the token's text out of the question and out of data.template.prompt: "
                "the tokenizer adds it",
            )
    return prompts


def _refuse_stray_specials(example: Example, response: list[int], tokenizer: Tokenizer) -> None:
    if not response:
        raise UserError(
            f"the response of {example.id} has no tokens",
            where=example.place,
            remedy="check the answer and data.template.response",
        )
    if any(bos in response for bos in tokenizer.bos_ids):
        raise UserError(
            f"the response of {example.id} contains the begin token, which belongs before the prompt alone",
            where=example.place,
            remedy="take it out of the text and out of data.template.response",
        )
    if any(stop in response for stop in tokenizer.stop_ids):
        raise UserError(
            f"the response of {example.id} contains the end token, which would teach the model to stop there",
            where=example.place,
            remedy="take it out of the text and out of data.template.response: it is added at the end",
        )


def _shorten(example: Example, renderer: Renderer, tokenizer: Tokenizer, room: int) -> list[int] | None:
    """The response with its reasoning cut at the end to fit `room`; None where that does not do."""
    parts = renderer.response_parts(example)
    before, after = tokenizer.encode(parts.before), tokenizer.encode(parts.after)
    left = room - len(before) - len(after) - 1
    if left < 1 or not parts.reasoning:
        return None
    reasoning = tokenizer.encode(parts.reasoning)[:left]
    # Cut back to a whole character: three bytes of a four-byte character are no text to learn.
    while reasoning and tokenizer.decode(reasoning).endswith("\ufffd"):
        reasoning.pop()
    return [*before, *reasoning, *after, tokenizer.end_id] if reasoning else None


def _too_long(
    misfits: list[tuple[Example, int]], rows: int, max_tokens: int, key: str, positions: int | None
) -> UserError:
    longest = sorted(misfits, key=lambda misfit: -misfit[1])
    shown = "\n".join(f"  {example.place}: {length} tokens" for example, length in longest[:_MOST_SHOWN])
    more = f"\n  … and {len(misfits) - _MOST_SHOWN} more" if len(misfits) > _MOST_SHOWN else ""
    what = f"{len(misfits)} of {rows} examples are longer than {max_tokens} tokens\n{shown}{more}"
    if key != "data":
        return UserError(
            what,
            where=f"{key}.source",
            remedy="no model sees more than its positions: take the longer items out, "
            "or choose a model with more positions",
        )
    if positions is not None and longest[0][1] > positions:
        return UserError(
            what,
            where=f"data.max_tokens, model.num_positions={positions}",
            remedy="the model sees no more positions: choose one that does (one drawn at random can be given"
            f" them: model.num_positions={longest[0][1]}); "
            "data.too_long=shorten cuts reasoning, data.too_long=drop leaves them out",
        )
    return UserError(
        what,
        where="data.max_tokens",
        remedy=f"data.max_tokens={longest[0][1]} holds them all; "
        "data.too_long=shorten cuts reasoning, data.too_long=drop leaves them out",
    )


def _statistics(
    kept: list[TokenizedExample], rows_read: int, shortened: list[str], dropped: list[str]
) -> TokenStatistics:
    prompt_N = np.array([example.prompt_length for example in kept])
    total_N = np.array([len(example.tokens_T) for example in kept])
    response_N = total_N - prompt_N
    learnt = sum(int(example.learnt_T.sum()) for example in kept)
    return TokenStatistics(
        rows_read=rows_read,
        rows_kept=len(kept),
        rows_shortened=len(shortened),
        rows_dropped=len(dropped),
        prompt_tokens=_lengths(prompt_N),
        response_tokens=_lengths(response_N),
        total_tokens=_lengths(total_N),
        supervised_share=float(learnt / total_N.sum()),
        shortened_ids=tuple(shortened),
        dropped_ids=tuple(dropped),
    )


def _lengths(tokens_N: Any) -> Lengths:
    p50, p95 = np.percentile(tokens_N, [50, 95])
    return Lengths(int(tokens_N.min()), float(tokens_N.mean()), float(p50), float(p95), int(tokens_N.max()))
