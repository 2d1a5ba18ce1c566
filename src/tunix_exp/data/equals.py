"""Which rows are equal, and which ask the same and answer otherwise."""

from array import array
from collections.abc import Iterator, Sequence

import numpy as np

from tunix_exp.data.example import Example


class Equals:
    """How many rows are equal to an earlier one, by 64 bits of each: of ten million, none clash by chance."""

    def __init__(self) -> None:
        self._rows, self._questions = array("q"), array("q")

    def add(self, example: Example) -> None:
        """One more row."""
        asked = example.messages[:-1] if example.messages else example.question or example.answer
        question = hash(asked)
        self._questions.append(question)
        self._rows.append(hash((question, example.steps, example.answer)))

    def counts(self) -> dict[str, int]:
        """Rows that are equal to an earlier row; rows whose question an earlier row answers otherwise."""
        rows_N = np.frombuffer(self._rows, np.int64) if self._rows else np.zeros(0, np.int64)
        _, first_U = np.unique(rows_N, return_index=True)
        equal = len(rows_N) - len(first_U)
        questions_U = np.frombuffer(self._questions, np.int64)[first_U] if len(first_U) else rows_N
        return {
            "equal_rows": equal,
            "equal_questions_with_other_answers": len(questions_U) - len(np.unique(questions_U)),
        }


class Ids:
    """The ids of a set, as 64 bits each."""

    def __init__(self) -> None:
        """Of no row yet."""
        self._ids = array("q")

    def add(self, id_: str) -> None:
        """One more row."""
        self._ids.append(hash(id_))

    def repeated(self, examples: Sequence[Example]) -> Iterator[tuple[Example, Example]]:
        """Each example whose id an earlier one has, after the first that has it; in their order."""
        if not self._ids:
            return
        hashes_N = np.frombuffer(self._ids, np.int64)
        _, first_U, group_N = np.unique(hashes_N, return_index=True, return_inverse=True)
        first_N = first_U[group_N]
        for place in np.flatnonzero(first_N < np.arange(len(hashes_N))).tolist():
            first, second = examples[int(first_N[place])], examples[place]
            if first.id == second.id:
                yield first, second
