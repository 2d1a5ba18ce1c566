"""Examples to token ids, and which of them the assistant writes; users' text makes no special token."""

import dataclasses
import functools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tunix_exp.data import whole
from tunix_exp.data.example import Example
from tunix_exp.data.jinja_chat import JinjaChat
from tunix_exp.data.render import Renderer
from tunix_exp.data.tokenizer import Tokenizer
from tunix_exp.errors import UserError
from tunix_exp.models.chat import Message

# Stands for a part of an example where the template's own text alone matters; no name of a token has it.
_BLANK = "\ufdd0"


class Encoded(NamedTuple):
    """An example's ids, and from where to where each answer of the assistant goes, its end token included.

    `names` counts the special tokens whose names are in the example's text.
    """

    ids: list[int]
    answers: tuple[tuple[int, int], ...]
    names: Counter[str]


class Reading(NamedTuple):
    """An example as it is rendered: with the names of special tokens broken where its text has some."""

    example: Example
    messages: list[Message]
    names: Counter[str]
    is_broken: bool


@dataclass(frozen=True, eq=False)
class Encoder:
    """Renders and encodes examples, for training as for evaluation.

    Of the tokenizer's own chat template the last answer is looked for alone, unless `every_turn` is needed.
    """

    renderer: Renderer
    tokenizer: Tokenizer
    every_turn: bool = False

    def encode(self, examples: Sequence[Example]) -> list[Encoded]:
        """Each example's ids.

        Prompts and responses are encoded apart, so that the prompt which evaluation sees is, token for token,
        training's prefix; with the tokenizer's own chat template, which is encoded whole, it is compared.
        Raises UserError where it is not, where a prompt or a response is empty, and where the template
        writes a begin or end token where none may be.
        """
        readings = [self.read(example) for example in examples]
        return (
            self._apart(readings) if self.renderer.own is None else self._whole(readings, self.renderer.own)
        )

    def prompts(self, examples: Sequence[Example]) -> list[list[int]]:
        """The ids of each example's prompt, as training and evaluation both see them."""
        return [encoded.ids[: encoded.answers[-1][0]] for encoded in self.encode(examples)]

    def shortened(self, example: Example, encoded: Encoded, most: int) -> Encoded | None:
        """The example with its reasoning cut at the end to fit `most`; None where that does not do."""
        if self.renderer.own is not None:
            return self._shortened_whole(example, len(encoded.ids), most)
        reading, start = self.read(example), encoded.answers[-1][0]
        parts = self.renderer.response_parts(reading.example)
        texts = [(text, reading.is_broken) for text in (parts.before, parts.reasoning, parts.after)]
        before, reasoning, after = self._ids(texts)
        left = most - start - len(before) - len(after) - 1
        if left < 1 or not parts.reasoning:
            return None
        reasoning = self._whole_characters(reasoning[:left])
        ids = [*encoded.ids[:start], *before, *reasoning, *after, self.tokenizer.end_id]
        return Encoded(ids, ((start, len(ids)),), encoded.names) if reasoning else None

    def _shortened_whole(self, example: Example, length: int, most: int) -> Encoded | None:
        """The same, rendered again until it fits."""
        text = self.renderer.response_parts(example).reasoning
        [reasoning] = self._ids([(self.tokenizer.specials.as_text(text), True)])
        while length > most and reasoning:
            reasoning = self._whole_characters(reasoning[: max(0, len(reasoning) - (length - most))])
            cut = dataclasses.replace(example, steps=(self.tokenizer.decode(reasoning),))
            if reasoning:
                [encoded] = self.encode([cut])
                length = len(encoded.ids)
                if length <= most:
                    return encoded
        return None

    def _whole_characters(self, ids: list[int]) -> list[int]:
        """Without the last of them where they are a part of a character, which is no text to learn."""
        while ids and self.tokenizer.decode(ids).endswith("\ufffd"):
            ids = ids[:-1]
        return ids

    def _apart(self, readings: Sequence[Reading]) -> list[Encoded]:
        turns = [self.renderer.turns_of(reading.messages, reading.example) for reading in readings]
        texts = [
            (text, reading.is_broken)
            for reading, of_example in zip(readings, turns, strict=True)
            for turn in of_example
            for text in turn
        ]
        ids = iter(self._ids(texts))
        return [
            self._joined(reading, [(next(ids), next(ids)) for _ in of_example])
            for reading, of_example in zip(readings, turns, strict=True)
        ]

    def _whole(self, readings: Sequence[Reading], chat: JinjaChat) -> list[Encoded]:
        wholes = [
            whole.rendered(chat, reading.messages, reading.example, every_turn=self.every_turn)
            for reading in readings
        ]
        texts = [
            (text, reading.is_broken)
            for reading, one in zip(readings, wholes, strict=True)
            for text in (one.text, *(answer.prompt for answer in one.answers))
        ]
        encoded = iter(self._ids(texts))
        found: list[Encoded] = []
        for reading, one in zip(readings, wholes, strict=True):
            ids, prompts = next(encoded), [next(encoded) for _ in one.answers]
            answers = whole.spans(chat, one, ids, prompts, reading.example)
            found.append(Encoded(ids, answers, reading.names))
        return found

    def read(self, example: Example) -> Reading:
        """The example, its text safe to render: what names a special token there is text."""
        specials, messages = self.tokenizer.specials, self.renderer.messages(example)
        own = self._template_names(len(example.steps), bool(example.messages))
        contents = [content for _, content in messages]
        if not own and not specials.is_in(contents):
            return Reading(example, messages, own, False)
        names = specials.count(contents)
        if names == own:
            return Reading(example, messages, Counter(), False)
        # A chat template may look at how a message begins, and takes white space off its ends.
        is_chat = self.renderer.template.chat != "none"
        broken = specials.as_text if is_chat else specials.fenced
        safe = dataclasses.replace(
            example,
            question=broken(example.question),
            steps=tuple(map(broken, example.steps)),
            answer=broken(example.answer),
            messages=tuple((role, broken(content)) for role, content in example.messages),
        )
        return Reading(safe, self._broken_renderer.messages(safe), names - own, True)

    def _template_names(self, steps: int, has_messages: bool) -> Counter[str]:
        """How often the texts of the config have a special token's name."""
        # of the encoder itself: a cache of the method would keep every encoder, and its tokenizer, for good
        key = steps, has_messages
        if key not in self._counted:
            self._counted[key] = self._names_in_template(steps, has_messages)
        return self._counted[key]

    @functools.cached_property
    def _counted(self) -> dict[tuple[int, bool], Counter[str]]:
        return {}

    def _names_in_template(self, steps: int, has_messages: bool) -> Counter[str]:
        if has_messages and self.renderer.template.chat != "none":
            return Counter()
        blank = Example("", _BLANK, (_BLANK,) * steps, _BLANK, None, None, None, "")
        unsaid = self.renderer.template.model_copy(update={"system": None})
        messages = dataclasses.replace(self.renderer, template=unsaid).messages(blank)
        return self.tokenizer.specials.count(content for _, content in messages)

    @functools.cached_property
    def _broken_renderer(self) -> Renderer:
        template = self.renderer.template
        if template.system is None:
            return self.renderer
        system = self.tokenizer.specials.as_text(template.system)
        return dataclasses.replace(self.renderer, template=template.model_copy(update={"system": system}))

    def _ids(self, texts: Sequence[tuple[str, bool]]) -> list[list[int]]:
        """The ids of each text, those with breaks one by one."""
        plain = iter(self.tokenizer.encode_all([text for text, is_broken in texts if not is_broken]))
        return [
            self.tokenizer.specials.encode(text) if is_broken else next(plain) for text, is_broken in texts
        ]

    def _joined(self, reading: Reading, turns: list[tuple[list[int], list[int]]]) -> Encoded:
        ids: list[int] = []
        answers: list[tuple[int, int]] = []
        for prompt, response in turns:
            ids = [*ids, *prompt] if answers else self.tokenizer.with_bos(prompt)
            self._refuse_prompt(reading.example, ids)
            self._refuse_response(reading.example, response)
            answers.append((len(ids), len(ids) + len(response) + 1))
            ids += [*response, self.tokenizer.end_id]
        return Encoded(ids, tuple(answers), reading.names)

    def _refuse_prompt(self, example: Example, ids: list[int]) -> None:
        if not ids:
            raise UserError(
                "the prompt has no tokens",
                where=example.place,
                remedy="check the question and data.template.prompt",
            )
        if any(ids.count(bos) > 1 for bos in self.tokenizer.bos_ids):
            raise UserError(
                f"the prompt has {ids.count(self.tokenizer.bos_ids[0])} begin-of-sequence tokens, not one",
                where=example.place,
                remedy="take the token out of data.template.prompt: the tokenizer adds it",
            )

    def _refuse_response(self, example: Example, response: list[int]) -> None:
        if not response:
            raise UserError(
                f"the response of {example.id} has no tokens",
                where=example.place,
                remedy="check the answer and data.template.response",
            )
        if any(bos in response for bos in self.tokenizer.bos_ids):
            raise UserError(
                f"the response of {example.id} contains the begin token, which belongs before the prompt"
                " alone",
                where=example.place,
                remedy="take it out of data.template.response",
            )
        if any(stop in response for stop in self.tokenizer.stop_ids):
            raise UserError(
                f"the response of {example.id} contains the end token, which would teach the model to"
                " stop there",
                where=example.place,
                remedy="take it out of data.template.response: it is added at the end",
            )
