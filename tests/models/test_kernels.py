import pytest

from tests.models.families.gemma.toys import gemma_config
from tests.models.toys import toy_config
from tunix_exp.errors import UserError
from tunix_exp.models.kernels import choose

TPU = {"platform": "tpu", "device_kind": "TPU v5 lite", "compute_dtype": "bfloat16", "max_tokens": 2048}
GPU = {"platform": "gpu", "device_kind": "NVIDIA H200", "compute_dtype": "bfloat16", "max_tokens": 2048}
CPU = {"platform": "cpu", "device_kind": "cpu", "compute_dtype": "float32", "max_tokens": 2048}


@pytest.mark.parametrize(
    ("model", "where", "kernel", "reason"),
    [
        (toy_config(), CPU, "einsum", "needs a GPU"),
        (toy_config(), GPU, "cudnn", "available"),
        (toy_config(), GPU | {"compute_dtype": "float32"}, "einsum", "not in float32"),
        (gemma_config("gemma2"), GPU, "einsum", "soft cap"),
        (gemma_config("gemma3"), GPU, "cudnn", "available"),
        (gemma_config("gemma2"), TPU, "splash", "1024 tokens or more"),
        (toy_config(), TPU | {"max_tokens": 512}, "einsum", "pays from 1024"),
        (toy_config(), TPU | {"device_kind": "TPU v3"}, "einsum", "TPU v3"),
    ],
)
def test_auto_takes_the_fastest_that_holds_and_says_why(model, where, kernel, reason):
    choice = choose("auto", model, **where)
    assert choice.kernel == kernel
    assert reason in choice.reason


@pytest.mark.parametrize(
    ("asked", "model", "where", "reason"),
    [
        ("cudnn", toy_config(), CPU, "this is a CPU"),
        ("cudnn", gemma_config("gemma2"), GPU, "soft cap"),
        ("splash", toy_config(), GPU, "this is a GPU"),
        ("splash", toy_config(), TPU | {"device_kind": "TPU v3"}, "TPU v3"),
    ],
)
def test_one_that_is_asked_for_and_does_not_hold_is_refused_and_not_replaced(asked, model, where, reason):
    with pytest.raises(UserError, match=reason):
        choose(asked, model, **where)


def test_one_that_is_asked_for_and_holds_is_taken():
    assert choose("splash", toy_config(), **TPU | {"max_tokens": 8}).kernel == "splash"
    assert choose("einsum", toy_config(), **GPU).kernel == "einsum"
