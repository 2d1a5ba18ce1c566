import pytest

from tunix_exp.models.paths import Place, is_stacked, layer_paths, place_of


@pytest.mark.parametrize(
    ("path", "place", "stacked"),
    [
        ("blocks/12/mlp/up/kernel", Place("mlp/up/kernel", 12, None), False),
        ("blocks/mlp/up/kernel", Place("mlp/up/kernel", 0, 1), True),
        ("blocks/1::3/mlp/up/kernel", Place("mlp/up/kernel", 1, 3), True),
        ("token_embedding/embedding", None, False),
    ],
)
def test_a_path_tells_its_layers(path, place, stacked):
    assert place_of(path) == place
    assert is_stacked(path) == stacked


def test_the_layers_of_a_stack_have_the_paths_of_single_ones():
    assert layer_paths("blocks/mlp/up/bias", 2) == ["blocks/0/mlp/up/bias", "blocks/1/mlp/up/bias"]
    assert layer_paths("blocks/1::3/mlp/up/bias", 2) == ["blocks/1/mlp/up/bias", "blocks/4/mlp/up/bias"]
