import pytest
from pydantic import ValidationError

from tests.models.gemma_toys import gemma_config
from tunix_exp.config import classes
from tunix_exp.models.config import GPT2Config, ModelConfig
from tunix_exp.models.gemma_config import GemmaConfig


@pytest.mark.parametrize(
    ("changes", "key", "text"),
    [
        ({"num_key_heads": 3}, "num_key_heads", "must divide num_heads, 4"),
        ({"head_width": 7}, "head_width", "multiple of 2"),
        ({"window": None}, "window", "null if and only if global_every is 1"),
        ({"rope_local_base": None}, "rope_local_base", "null if and only if global_every is 1"),
        ({"global_every": 1}, "window", "null if and only if global_every is 1"),
    ],
)
def test_a_contradiction_is_refused_at_its_key(changes, key, text):
    with pytest.raises(ValidationError, match=text) as caught:
        gemma_config("gemma2", **changes)
    assert (key,) in [fault["loc"] for fault in caught.value.errors()]


def test_heads_need_not_divide_the_width():
    config = gemma_config("gemma", width=10, num_heads=4)
    assert config.width % config.num_heads


@pytest.mark.parametrize(
    ("global_every", "is_global"), [(1, [True] * 4), (2, [False, True] * 2), (6, [False] * 4)]
)
def test_every_nth_layer_is_global(global_every, is_global):
    changes = {"window": None, "rope_local_base": None} if global_every == 1 else {}
    config = gemma_config("gemma2", global_every=global_every, **changes)
    assert [config.is_global(layer) for layer in range(4)] == is_global


def test_the_family_tells_the_architectures_apart():
    assert set(classes(ModelConfig)) == {GPT2Config, GemmaConfig}
