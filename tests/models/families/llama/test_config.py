import math

import pytest
from flax import nnx
from pydantic import ValidationError

from tests.composing import composed, options
from tests.models.families.llama.toys import UNSCALED, llama_config
from tunix_exp.config import RunConfig, validate
from tunix_exp.errors import UserError
from tunix_exp.models.architecture import abstract
from tunix_exp.models.digest import parameter_count
from tunix_exp.models.families.llama.config import LlamaConfig


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"num_key_heads": 3}, "`num_key_heads=3` and `num_heads=4` cannot be combined"),
        ({"rope_factor": None}, "a scaled rotation takes all four"),
        (UNSCALED | {"rope_original_positions": 32}, "a scaled rotation takes all four"),
        ({"rope_high_freq_factor": 1.0}, "`rope_low_freq_factor=1.0` and `rope_high_freq_factor=1.0` cannot"),
        ({"unrotated_every": 4}, "`unrotated_every=4` and `num_layers=3` cannot be combined"),
        ({"width": 10}, "`width=10` and `num_heads=4` cannot be combined"),
    ],
)
def test_a_contradiction_is_refused(changes, text):
    with pytest.raises(ValidationError, match=text):
        llama_config("llama", **changes)


@pytest.mark.parametrize("family", ["qwen2", "qwen3", "smollm3"])
def test_elsewhere_heads_need_not_divide_the_width(family):
    assert llama_config(family, width=10).width % 4


@pytest.mark.parametrize(
    ("every", "rotated"), [(None, [1, 1, 1]), (3, [1, 1, 0]), (2, [1, 0, 1]), (1, [0, 0, 0])]
)
def test_every_nth_layer_is_unrotated(every, rotated):
    bases = llama_config("smollm3", unrotated_every=every).rope_bases
    assert bases == tuple(10_000.0 if bit else None for bit in rotated)


# Published by the Hub as the number of stored parameters.
PARAMETERS = {
    "llama32-1b": 1_235_814_400,
    "llama32-1b-it": 1_235_814_400,
    "smollm2-135m": 134_515_008,
    "smollm2-135m-it": 134_515_008,
    "smollm2-360m": 361_821_120,
    "smollm2-360m-it": 361_821_120,
    "smollm2-1.7b": 1_711_376_384,
    "smollm2-1.7b-it": 1_711_376_384,
    "qwen25-0.5b": 494_032_768,
    "qwen25-0.5b-it": 494_032_768,
    "qwen3-0.6b": 596_049_920,
    "qwen3-1.7b": 1_720_574_976,
    "smollm3-3b": 3_075_098_624,
}
TINY = ("tiny-llama", "tiny-qwen2", "tiny-qwen3", "tiny-smollm3")
CHATTING = {"qwen3-0.6b", "qwen3-1.7b", "smollm3-3b", *(name for name in PARAMETERS if name.endswith("-it"))}


def run_config(*overrides: str) -> RunConfig:
    return validate(composed(*overrides))


def test_the_options_were_found():
    names = {"llama", "qwen", "smollm"}
    assert {o for o in options("model") if any(name in o for name in names)} == {*PARAMETERS, *TINY}


@pytest.mark.parametrize("option", PARAMETERS)
def test_a_published_model_has_as_many_parameters_as_published(option):
    config = run_config(f"model={option}", "device=cpu")
    model = abstract(config.model, param_dtype="bfloat16", compute_dtype="bfloat16")
    assert parameter_count(nnx.state(model)) == PARAMETERS[option]
    assert config.model.weights == config.model.tokenizer
    assert (config.model.layer_loop, config.model.remat, config.model.stored_dtype) == (
        "scan",
        "auto",
        "bfloat16",
    )
    assert (config.data.name, config.eval.name) == ("dev-reasoning-v2", "eval-v2")
    assert config.data.template.chat == ("tokenizer" if option in CHATTING else "none")


@pytest.mark.parametrize("option", TINY)
def test_a_tiny_model_needs_no_network(option):
    config = run_config(f"model={option}").model
    assert isinstance(config, LlamaConfig)
    assert (config.weights, config.tokenizer) == ("random", "bundled:bytes")


def test_llama_32_s_waves_are_kept_up_to_two_thousand_positions_and_lengthened_from_eight_on():
    config = run_config("model=llama32-1b", "device=cpu").model
    assert isinstance(config, LlamaConfig)
    model = abstract(config, param_dtype="bfloat16", compute_dtype="bfloat16")
    assert model.rotary is not None
    scaled_R = model.rotary.frequencies()[0]
    plain_R = [500_000.0 ** -(pair / 32) for pair in range(32)]
    for scaled, plain in zip(scaled_R.tolist(), plain_R, strict=True):
        wavelength = 2 * math.pi / plain
        if wavelength < 8192 / 4:
            assert scaled == pytest.approx(plain, rel=1e-6)
        elif wavelength > 8192:
            assert scaled == pytest.approx(plain / 32, rel=1e-6)
        else:
            assert plain / 32 < scaled < plain


def test_a_contradiction_is_told_with_the_key_that_was_typed():
    with pytest.raises(UserError) as caught:
        run_config("model=llama32-1b", "model.rope_factor=null")
    assert "`model.rope_factor=null`" in str(caught.value)
