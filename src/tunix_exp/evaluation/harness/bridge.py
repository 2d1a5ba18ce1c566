"""A model of ours as the lm-evaluation-harness asks for one.

What the harness's own `hf` backend does with a request is done here too, so that scores can be compared: the
tokens in front, what is cut off where something is too long, how a window rolls over a long text, where an
answer ends.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs, postprocess_generated_text
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from tunix_exp.data.tokenizer import Tokenizer
from tunix_exp.errors import UserError
from tunix_exp.evaluation.generate import generate
from tunix_exp.evaluation.loglikelihood import Continuation, loglikelihoods
from tunix_exp.evidence.console import Advance
from tunix_exp.models.architecture import LanguageModel

# What the harness allows an answer whose task names no length.
DEFAULT_NEW_TOKENS = 256
# These change nothing where the best token is taken, or say that it is.
_GREEDY = {"until", "max_gen_toks", "do_sample", "temperature", "top_p", "top_k", "min_p", "num_beams"}

Progress = Callable[[int, str], AbstractContextManager[Advance]]


@dataclass(frozen=True, slots=True)
class Ending:
    """Where an answer ends: at one of these texts, or after so many tokens."""

    until: tuple[str, ...]
    max_new_tokens: int


def ending(gen_kwargs: dict[str, Any], task: str, *, cap: int | None) -> Ending:
    """What a task's `generation_kwargs` ask for, no longer than `cap`; a `UserError` for any but greedy."""
    said: dict[str, Any] = {**normalize_gen_kwargs(gen_kwargs, DEFAULT_NEW_TOKENS)}
    unknown = sorted(said.keys() - _GREEDY)
    if said["do_sample"] or ("num_beams" in said and said["num_beams"] != 1) or unknown:
        raise UserError(
            f"the task {task} asks for {', '.join(f'{key}={said[key]!r}' for key in sorted(said))}",
            where="eval.tasks",
            remedy="answers are greedy (do_sample=false, one beam); choose a task that asks for that"
            + (f", without {', '.join(unknown)}" if unknown else ""),
        )
    longest = said["max_gen_toks"] if cap is None else min(cap, said["max_gen_toks"])
    return Ending(tuple(handle_stop_sequences(list(said["until"]), eos=None)), longest)


class Bridge(TemplateLM):
    """One model; `cut` counts by task the requests that were too long and lost their beginning."""

    def __init__(
        self,
        model: LanguageModel,
        tokenizer: Tokenizer,
        *,
        batch_size: int,
        max_new_tokens: int | None,
        is_chat: bool,
        progress: Progress,
    ) -> None:
        """`max_new_tokens` caps what tasks ask for; `progress` is begun for each kind of request.

        With `is_chat` every text comes from `apply_chat_template`.
        """
        super().__init__()
        self.cut: Counter[str] = Counter()
        self._model = model
        self._tokenizer = tokenizer
        self._batch_size = batch_size
        self._cap = max_new_tokens
        self._is_chat = is_chat
        self._progress = progress
        self._asking: list[str] = []

    # ── what the harness asks of every model ─────────────────────────────────────────────────────────────

    @property
    def eot_token_id(self) -> int:
        """The end of text."""
        return self._tokenizer.eos_id

    @property
    def prefix_token_id(self) -> int:
        """What stands before a text that has no context: `<bos>`, or else the end of the text before."""
        bos_ids = self._tokenizer.bos_ids
        return bos_ids[0] if bos_ids else self._tokenizer.eos_id

    @property
    def tokenizer_name(self) -> str:
        """The tokenizer by its hash."""
        return self._tokenizer.digest

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """The ids, with `<bos>` once in front where the tokenizer wants one, unless told otherwise.

        The only special tokens among them are those of the chat template: a task's own text makes none.
        """
        specials = self._tokenizer.specials
        text = string if self._is_chat else specials.as_text(string)
        ids = specials.encode(text) if specials.has_breaks(text) else self._tokenizer.encode(text)
        # the tokenizer's own chat template writes `<bos>` where there is to be one
        is_begun = self._is_chat and self._tokenizer.own_chat is not None
        return ids if is_begun or add_special_tokens is False else self._tokenizer.with_bos(ids)

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """The messages as training renders them; the tokenizer puts `<bos>` in front."""
        chat = self._tokenizer.chat
        assert chat is not None  # apply_chat_template needs data.template.chat, as the config's rules say
        as_text = self._tokenizer.specials.as_text
        messages = [(one["role"], as_text(one["content"])) for one in chat_history]
        return chat.conversation(messages, opens_answer=add_generation_prompt)

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = True) -> list[tuple[float, bool]]:
        """The log-likelihood (nats) of each continuation, and whether greedy decoding would write it."""
        # the harness encodes the pairs, in order, and hands them to `_loglikelihood_tokens`
        self._asking = [str(request.task_name) for request in requests]
        return super().loglikelihood(requests, disable_tqdm=True)

    def _loglikelihood_tokens(
        self, requests: list[tuple[tuple[str, str], list[int], list[int]]], **_: Any
    ) -> list[tuple[float, bool]]:
        pairs = [(context, continuation) for _, context, continuation in requests]
        for task, (texts, context, continuation) in zip(self._asking, requests, strict=True):
            self._refuse_lengths(task, texts, len(context), len(continuation))
        found = self._scored(pairs, "continuations")
        self.cut.update(task for task, one in zip(self._asking, found, strict=True) if one.is_cut)
        return [(one.loglikelihood, one.is_greedy) for one in found]

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = True) -> list[float]:
        """The log-likelihood (nats) of each text, a window rolled over it, no token scored twice."""
        windows: list[tuple[list[int], list[int]]] = []
        ends = []
        for request in requests:
            rolling = get_rolling_token_windows(
                token_list=self.tok_encode(request.args[0]),
                prefix_token=self.prefix_token_id,
                max_seq_len=self._model.num_positions,
                context_len=1,
            )
            windows += map(make_disjoint_window, rolling)
            ends.append(len(windows))
        nats = [one.loglikelihood for one in self._scored(windows, "windows")]
        return [float(sum(nats[start:end])) for start, end in zip([0, *ends], ends, strict=False)]

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = True) -> list[str]:
        """The greedy answer to each prompt, up to the first of the texts that end it."""
        groups: dict[Ending, list[int]] = {}
        for index, request in enumerate(requests):
            asked = ending(request.arguments[1], str(request.task_name), cap=self._cap)
            self._refuse_room(str(request.task_name), asked.max_new_tokens)
            groups.setdefault(asked, []).append(index)
        answers: dict[int, str] = {}
        with self._progress(len(requests), "answers") as bar:
            for asked, indices in groups.items():
                texts = self._answers([requests[index] for index in indices], asked, bar)
                answers |= dict(zip(indices, texts, strict=True))
        return [answers[index] for index in range(len(requests))]

    # ── how it is computed ───────────────────────────────────────────────────────────────────────────────

    def _scored(self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]], what: str) -> list[Continuation]:
        with self._progress(len(pairs), what) as bar:
            return loglikelihoods(self._model, pairs, batch_size=self._batch_size, on_batch=_counting(bar))

    def _answers(self, requests: Sequence[Instance], asked: Ending, bar: Advance) -> list[str]:
        room = self._model.num_positions - asked.max_new_tokens
        prompts = [self.tok_encode(request.args[0]) for request in requests]
        self.cut.update(
            str(request.task_name)
            for request, prompt in zip(requests, prompts, strict=True)
            if len(prompt) > room
        )
        generations = generate(
            self._model,
            [prompt[-room:] for prompt in prompts],
            max_new_tokens=asked.max_new_tokens,
            eos_ids=filled_up((*self._tokenizer.stop_ids, *ending_tokens(self._tokenizer, asked.until))),
            pad_id=self._tokenizer.pad_id,
            batch_size=self._batch_size,
            on_batch=_counting(bar),
        )
        eos = self._tokenizer.decode([self._tokenizer.eos_id])
        stops = [*asked.until, *([] if eos in asked.until else [eos])]
        texts = [self._tokenizer.decode(one.tokens, special=False) for one in generations]
        return [postprocess_generated_text(text, stops, None) for text in texts]

    def _refuse_lengths(self, task: str, texts: tuple[str, str], context: int, continuation: int) -> None:
        """The harness moves white space at a context's end into the continuation, and may leave nothing."""
        limit = self._model.num_positions
        if not context or not 0 < continuation <= limit:
            raise UserError(
                f"the task {task} asks for {texts[1][:60]!r} after {texts[0][-60:]!r}: {continuation} tokens"
                f" after {context}",
                where="eval.tasks",
                remedy=f"this model scores 1 to {limit} tokens after at least one; choose another task",
            )

    def _refuse_room(self, task: str, new_tokens: int) -> None:
        if new_tokens >= self._model.num_positions:
            raise UserError(
                f"the task {task} lets an answer have {new_tokens} tokens, and with its prompt it must fit"
                f" the model's {self._model.num_positions} positions",
                where="eval.max_new_tokens",
                remedy="cap it: eval.max_new_tokens=N",
            )


def ending_tokens(tokenizer: Tokenizer, until: Sequence[str]) -> tuple[int, ...]:
    """The ids whose text begins with one of `until`: an answer can end there, and loses nothing.

    Every other ending is cut off from the whole text.
    """
    # behind another token, as some tokenizers swallow a space in front
    anchor = tokenizer.encode("a")
    before = tokenizer.decode(anchor)
    pairs = [[*anchor, token] for token in range(tokenizer.vocab_size)]
    texts = tokenizer.backend.decode_batch(pairs, skip_special_tokens=False)
    starts = tuple(filter(None, until))
    return tuple(i for i, text in enumerate(texts) if text.removeprefix(before).startswith(starts))


def filled_up(ids: tuple[int, ...]) -> tuple[int, ...]:
    """The ids, one of them repeated until they are a power of two of at least 8: each number is a program."""
    size = 8
    while size < len(ids):
        size *= 2
    return (*ids, *ids[:1] * (size - len(ids)))


def _counting(bar: Advance) -> Callable[[int], None]:
    """`bar` moves on as the number of what is done grows."""
    before = 0

    def advance(done: int) -> None:
        nonlocal before
        bar(done - before)
        before = done

    return advance
