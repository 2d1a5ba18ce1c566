import pytest
from pydantic import ValidationError

from tests.models.toys import toy_config


def test_heads_must_divide_the_width():
    with pytest.raises(ValidationError, match="`width=16` and `num_heads=3` cannot be combined"):
        toy_config(num_heads=3)
