"""Whether an output has the form of the response template, apart from whether its answer is right."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from string import Formatter


@dataclass(frozen=True)
class Form:
    """The form of the responses that a model was taught: with reasoning, and without.

    Both are templates with `{reasoning}` and `{answer}`, as `data.template` has them.
    """

    response: str
    response_without_reasoning: str

    @cached_property
    def _patterns(self) -> tuple[re.Pattern[str], ...]:
        return _pattern(self.response), _pattern(self.response_without_reasoning)

    def fits(self, output: str) -> bool:
        """Whether the output is one of both: each mark once, in its place, and the answer not blank."""
        return any(
            found is not None and bool(found["answer"].strip())
            for found in (pattern.fullmatch(output.strip()) for pattern in self._patterns)
        )


def form_of(response: str, response_without_reasoning: str, parts: Collection[str]) -> Form | None:
    """The form of the responses to rows of these `parts`.

    There is none of conversations (`messages`) and documents (`text`): no template writes their responses.
    """
    if "messages" in parts or "text" in parts:
        return None
    return Form(response, response_without_reasoning)


def _pattern(template: str) -> re.Pattern[str]:
    """What stands in a placeholder holds none of the template's own marks."""
    parsed = list(Formatter().parse(template.strip()))
    marks = [re.escape(literal.strip()) for literal, _, _, _ in parsed if literal.strip()]
    anything = f"(?:(?!{'|'.join(marks)}).)*" if marks else ".*"
    parts = [
        re.escape(literal) + ("" if field is None else f"(?P<{field}>{anything})")
        for literal, field, _, _ in parsed
    ]
    return re.compile("".join(parts), re.DOTALL)
