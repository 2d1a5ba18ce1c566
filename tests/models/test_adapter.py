import math

import pytest
from pydantic import TypeAdapter

from tests.models.families.gemma.toys import gemma_config
from tests.models.lora_toys import lora_config
from tunix_exp.models.adapter import (
    AdapterConfig,
    NoAdapterConfig,
    base_dtype,
    layers_of,
    target_names,
    targeted,
    unknown_targets,
)
from tunix_exp.models.families.registry import weight_maps

GEMMA = {"query", "key", "value", "out"}


def test_the_layers_of_a_family_are_the_products_of_its_weight_map():
    assert layers_of("gpt2") == {
        "attn.c_attn": "attention/qkv",
        "attn.c_proj": "attention/out",
        "mlp.c_fc": "mlp/up",
        "mlp.c_proj": "mlp/down",
    }
    for family in ("gemma", "gemma2", "gemma3"):
        assert set(layers_of(family).values()) == {
            *(f"attention/{name}" for name in GEMMA), "mlp/gate", "mlp/up", "mlp/down",
        }  # fmt: skip
        assert layers_of(family)["self_attn.o_proj"] == "attention/out"


@pytest.mark.parametrize(
    ("family", "targets", "layers"),
    [
        ("gpt2", ("attention",), {"attn.c_attn", "attn.c_proj"}),
        ("gpt2", ("mlp", "c_attn"), {"attn.c_attn", "mlp.c_fc", "mlp.c_proj"}),
        ("gpt2", ("c_proj",), {"attn.c_proj", "mlp.c_proj"}),
        ("gpt2", ("mlp.c_proj",), {"mlp.c_proj"}),
        ("gemma", ("q_proj", "v_proj"), {"self_attn.q_proj", "self_attn.v_proj"}),
        ("gemma3", ("all",), set(layers_of("gemma3"))),
        ("gemma", ("proj",), set()),
    ],
)
def test_a_target_is_a_part_of_the_block_or_ends_the_name_of_layers(family, targets, layers):
    assert set(targeted(family, targets)) == layers


def test_what_names_no_layer_of_the_family_is_found():
    assert list(unknown_targets("gpt2", ("q_proj", "attention", "c_fc"))) == ["q_proj"]
    assert all(not list(unknown_targets("gemma2", (name,))) for name in target_names("gemma2"))


def test_rslora_divides_by_the_root_of_the_rank():
    assert lora_config(rank=16, alpha=8.0).scale == 0.5
    assert lora_config(rank=16, alpha=8.0, scaling="rslora").scale == 8.0 / math.sqrt(16)


def test_frozen_weights_keep_their_stored_dtype_and_trained_ones_have_the_device_s():
    model = gemma_config("gemma", stored_dtype="bfloat16")
    assert base_dtype(model, lora_config(), "float32") == "bfloat16"
    assert base_dtype(model, NoAdapterConfig(name="none"), "float32") == "float32"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"weights": f"hub:org/name@{'0' * 40}"}, "neither random nor the folder of a PEFT adapter"),
        ({"dropout": 1.0}, "less than 1"),
        ({"targets": ()}, "at least 1 item"),
    ],
)
def test_what_an_adapter_cannot_be_is_refused(change, text):
    fields = lora_config().model_dump() | change
    with pytest.raises(ValueError, match=text):
        TypeAdapter(AdapterConfig).validate_python(fields)


@pytest.mark.parametrize("family", weight_maps())
def test_all_linear_is_peft_s_word_for_every_layer_that_an_adapter_may_stand_beside(family):
    assert targeted(family, ("all-linear",)) == targeted(family, ("all",)) == layers_of(family)
    assert "all-linear" in target_names(family)
