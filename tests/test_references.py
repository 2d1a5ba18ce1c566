import pytest

from tunix_exp import references
from tunix_exp.errors import UserError


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x" * 300, "names nothing that can be looked for: File name too long"),
        ("folder/" + "y/" * 4000, "names nothing that can be looked for: File name too long"),
        ("~nobody-of-this-name/x", "names nothing that can be looked for: Could not determine home"),
        ("", "the reference is empty"),
    ],
)
def test_a_path_that_the_system_cannot_be_asked_for_is_refused_by_its_key(text, says):
    with pytest.raises(UserError, match=says) as caught:
        references.parse(text, key="model.weights")
    assert caught.value.where == "model.weights"
    assert len(caught.value.what) < 200
