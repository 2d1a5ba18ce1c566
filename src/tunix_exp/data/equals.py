"""Which rows are equal, and which ask the same and answer otherwise."""

from array import array

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
