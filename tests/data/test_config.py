import pytest
from pydantic import ValidationError

from tests.data.toys import fields


def test_reasoning_has_one_source():
    with pytest.raises(ValidationError, match="`reasoning` and `answer_marker` cannot both be set"):
        fields(reasoning="r", answer_marker="####")


def test_an_empty_marker_is_refused():
    with pytest.raises(ValidationError, match="`answer_marker` is empty"):
        fields(answer_marker="")
