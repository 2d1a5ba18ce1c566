import re

import jax
import jax.numpy as jnp
import pytest

from tests.closeness import assert_close
from tunix_exp.models.layers.embedding import Embedding, Unembedding

BF16 = {"param_dtype": jnp.float32, "compute_dtype": jnp.bfloat16}
F32 = {"param_dtype": jnp.float32, "compute_dtype": jnp.float32}


def test_embedding_logits_are_float32_when_computing_in_bfloat16():
    table = Embedding(5, 4, std=1.0, **BF16)
    x_BTD = table(jnp.array([[0, 4]]))
    assert x_BTD.dtype == jnp.bfloat16
    assert Unembedding(x_BTD.dtype).logits(x_BTD, table.embedding[...]).dtype == jnp.float32


@pytest.mark.parametrize("soft_cap", [None, 2.0])
def test_the_logits_of_few_rows_are_those_of_many_with_the_table_as_the_first_factor(soft_cap):
    table_VD, x_ND = jnp.sin(jnp.arange(44.0)).reshape(11, 4), jnp.cos(jnp.arange(12.0)).reshape(3, 4)
    unembedding = Unembedding(x_ND.dtype, soft_cap)
    few = jax.jit(unembedding.logits_of_few)
    assert_close(few(x_ND, table_VD), unembedding.logits(x_ND, table_VD), roundings=8)
    program = few.lower(x_ND, table_VD).compile().as_text()
    assert re.findall(r"f32\[([\d,]+)\]\S* dot\(", program) == ["11,3"]


def test_a_table_read_and_read_again_gets_both_gradients():
    table_VD, index_BT = jnp.sin(jnp.arange(12.0)).reshape(4, 3), jnp.array([[0, 2, 2]])

    def twice(table_VD):
        table = Embedding(4, 3, std=1.0, **F32)
        table.embedding.set_value(table_VD)
        x_BTD, again_VD = table.read(index_BT)
        return (x_BTD**2).sum() + (again_VD**3).sum()

    expected_VD = 3 * table_VD**2 + 2 * table_VD * jnp.array([1.0, 0, 2, 0])[:, None]
    assert_close(jax.grad(twice)(table_VD), expected_VD, roundings=4)
