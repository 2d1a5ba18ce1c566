import pytest

from tunix_exp import references
from tunix_exp.data.files import open_source
from tunix_exp.data.tokenizer import load_tokenizer
from tunix_exp.errors import UserError


def test_held_out_rows_are_no_model_no_tokenizer_and_no_training_set():
    assert references.parse("data", key="eval.source") == references.HeldOutRows()
    assert isinstance(references.parse("./data", key="data.source"), references.Local)
    for read, key in (
        (lambda: load_tokenizer("data", chat="none"), "model.tokenizer"),
        (lambda: open_source("data", "data.source"), "data.source"),
    ):
        with pytest.raises(UserError, match="`data` means the held-out rows") as caught:
            read()
        assert (caught.value.where, caught.value.remedy) == (
            key,
            "write ./data for a file or folder of that name",
        )


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
