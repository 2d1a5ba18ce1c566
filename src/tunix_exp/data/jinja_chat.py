"""The chat template that a tokenizer's own files bring along, rendered in transformers' sandbox."""

import datetime
import functools
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tunix_exp.data.special_tokens import SpecialTokens
from tunix_exp.errors import UserError
from tunix_exp.json_text import printable
from tunix_exp.models.chat import Message

_KEY = "data.template.chat=tokenizer"
# Texts that no template writes itself.
_PROBES = ("Probe A", "Probe B", "Probe C", "Probe D")


class NotRendered(Exception):
    """The template does not render a conversation; says what is wrong with which role, and the remedy."""

    def __init__(self, what: str, remedy: str) -> None:
        """Keep both parts."""
        super().__init__(what)
        self.what = what
        self.remedy = remedy


@dataclass(frozen=True, eq=False)
class JinjaChat:
    """The template `text` of the tokenizer `reference`, with the variables that transformers gives it.

    `date` stands for today where the template looks at the clock. Raises UserError for a template that does
    so without a date, that cannot be compiled, or that ends a message with no special token.
    """

    reference: str
    text: str
    variables: tuple[tuple[str, Any], ...]
    specials: SpecialTokens
    date: datetime.date | None

    name = "tokenizer"
    key = _KEY

    def __post_init__(self) -> None:
        """Refuse what depends on the clock, and find out how messages begin and end."""
        if self._reads_clock and self.date is None:
            raise UserError(
                f"the chat template of `{self.reference}` writes today's date: the same data would be"
                " other text tomorrow",
                where="data.template.chat=tokenizer, data.template.date=null",
                remedy="name the day that it is to write, as data.template.date=2025-01-31",
            )
        if not self.ends:
            raise UserError(
                f"the chat template of `{self.reference}` ends the assistant's message with no special token:"
                " nothing would teach the model to stop",
                where=_KEY,
                remedy="set data.template.chat=none and write the format into data.template.prompt",
            )

    def markers_in(self, text: str) -> tuple[str, ...]:
        """The special tokens that begin or end a message, of those that the text contains."""
        markers = (*([] if self.begin is None else [self.begin]), *self.ends)
        return tuple(name for name in markers if name in text)

    @property
    def sha256(self) -> str:
        """The hash of the template's text."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def written(self, messages: Sequence[Message], *, opens_answer: bool) -> str:
        """The text of the messages, and with `opens_answer` of the beginning of the assistant's next.

        Raises NotRendered where the template refuses them, or leaves one out.
        """
        self._refuse_lost_roles(tuple(role for role, _ in messages))
        return self._rendered(messages, opens_answer)

    def conversation(self, messages: Sequence[Message], *, opens_answer: bool) -> str:
        """`written`, where a refusal is a UserError."""
        try:
            return self.written(messages, opens_answer=opens_answer)
        except NotRendered as error:
            raise UserError(error.what, where=_KEY, remedy=error.remedy) from error

    @functools.cached_property
    def begin(self) -> str | None:
        """The special token that begins the user's next message; None where there is none."""
        between = self._probed.partition(_PROBES[1])[2].partition(_PROBES[2])[0]
        names = list(self.specials.count([between]).elements())
        found = sorted(names, key=between.find)
        after = [name for name in found if name not in self.ends]
        return after[0] if after else None

    @functools.cached_property
    def ends(self) -> tuple[str, ...]:
        """The special tokens that end the assistant's message: the last of a conversation, an earlier one."""
        after = [self._probed.partition(_PROBES[3])[2], self._probed.partition(_PROBES[1])[2]]
        after[1] = after[1].partition(_PROBES[2])[0]
        found = [self._first_special(text) for text in after]
        return tuple(dict.fromkeys(name for name in found if name)) if found[0] else ()

    @functools.cached_property
    def _probed(self) -> str:
        roles = ("user", "assistant") * 2
        try:
            return self._rendered(list(zip(roles, _PROBES, strict=True)), False)
        except NotRendered as error:
            raise UserError(error.what, where=_KEY, remedy=error.remedy) from error

    def _first_special(self, text: str) -> str | None:
        names = self.specials.count([text])
        return min(names, key=text.find) if names else None

    @property
    def _reads_clock(self) -> bool:
        return re.search(r"\bstrftime_now\b", self.text) is not None

    @functools.cached_property
    def _compiled(self) -> Any:
        from transformers.utils.chat_template_utils import (
            _compile_jinja_template,  # pyright: ignore[reportPrivateUsage]
        )

        try:
            return _compile_jinja_template(self.text)
        except Exception as error:
            raise UserError(
                f"the chat template of `{self.reference}` is no Jinja template: {_said(error)}",
                where=_KEY,
                remedy="mend its chat_template.jinja, or set data.template.chat=none",
            ) from error

    def _rendered(self, messages: Sequence[Message], opens_answer: bool) -> str:
        """What `apply_chat_template` gives; NotRendered names the message at which the template stops."""
        try:
            return self._render(messages, opens_answer)
        except UserError:
            raise
        except Exception as error:
            said, role = _said(error), messages[-1][0]
            for count in range(1, len(messages)):
                try:
                    self._render(messages[:count], False)
                except Exception as earlier:
                    if _said(earlier) == said:
                        role = messages[count - 1][0]
                        break
            raise NotRendered(
                f"the chat template of `{self.reference}` refuses the role `{role}` in"
                f" {_listed([role for role, _ in messages])}: {said}",
                "give messages that the template knows, or choose another with data.template.chat",
            ) from error

    def _render(self, messages: Sequence[Message], opens_answer: bool) -> str:
        return self._compiled.render(
            messages=[{"role": role, "content": content} for role, content in messages],
            tools=None,
            documents=None,
            add_generation_prompt=opens_answer,
            **{**dict(self.variables), **self._clock},
        )

    @functools.cached_property
    def _clock(self) -> dict[str, Any]:
        """Today, for the templates that ask, by the names under which they do."""
        if self.date is None:
            return {}
        day = self.date
        clock: Callable[[str], str] = day.strftime
        return {"strftime_now": clock, "date_string": day.strftime("%d %b %Y")}

    @functools.cached_property
    def _complete_roles(self) -> set[tuple[str, ...]]:
        """The sequences of roles of which the template writes every message."""
        return set()

    def _refuse_lost_roles(self, roles: tuple[str, ...]) -> None:
        """NotRendered where the template leaves a message out in silence, because of its role."""
        if roles in self._complete_roles:
            return
        contents = [f"Probe {place};" for place in range(len(roles))]
        text = self._rendered(list(zip(roles, contents, strict=True)), False)
        for role, content in zip(roles, contents, strict=True):
            if content not in text:
                raise NotRendered(
                    f"the chat template of `{self.reference}` leaves out the role `{role}` in"
                    f" {_listed(roles)}",
                    "give messages that the template knows, or choose another with data.template.chat",
                )
        self._complete_roles.add(roles)


def chosen(template: str | Mapping[str, str] | None, reference: str) -> str:
    """The text of the tokenizer's chat template, the one named `default` where it has several."""
    if isinstance(template, Mapping):
        if "default" not in template:
            raise UserError(
                f"the tokenizer `{reference}` has the chat templates {', '.join(sorted(template))} and no"
                " `default`",
                where=_KEY,
                remedy="save the one that is meant as its chat_template.jinja",
            )
        template = template["default"]
    if not template:
        raise UserError(
            f"the tokenizer `{reference}` has no chat template",
            where=_KEY,
            remedy="name the tokenizer of an instruction-tuned model in model.tokenizer, or set"
            " data.template.chat=none or a family's template",
        )
    return template


def _listed(roles: Sequence[str]) -> str:
    shown = ", ".join(roles[:6])
    return f"{shown}, … ({len(roles)} messages)" if len(roles) > 6 else shown


def _said(error: Exception) -> str:
    return printable((str(error).strip().splitlines() or [type(error).__name__])[0])
