import pytest

from tunix_exp.data.limit import limit, most_tokens


@pytest.mark.parametrize(
    ("asked", "positions", "widths", "most"),
    [
        (48, 128, None, 48),
        (None, 128, None, 128),
        (None, 8192, 4, 8192),
        (None, 8192, (128, 256), 256),
        (None, 128, (128, 256), 128),
    ],
)
def test_an_example_may_have_what_is_asked_else_what_model_and_widths_allow(asked, positions, widths, most):
    assert most_tokens(asked, positions=positions, bucket_widths=widths) == most


@pytest.mark.parametrize(
    ("asked", "most", "longest", "tokens"), [(48, 48, 20, 48), (None, 128, 20, 32), (None, 24, 20, 24)]
)
def test_a_row_is_as_wide_as_the_longest_example_needs_where_nothing_is_asked(asked, most, longest, tokens):
    found = limit(asked, most=most, longest=longest)
    assert found.tokens == tokens
    assert (found.reason == "") == (asked is not None)
    assert asked is not None or f"the longest example has {longest} tokens" in found.reason
