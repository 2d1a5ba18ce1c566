"""What `model=hf` leaves out is what its folder has; what was typed stays, and may not contradict it."""

import json
import shutil

import ml_dtypes
import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file, save_file

from tests.models.families.goldens import CONFIGS, GOLDENS, golden_config
from tunix_exp.cli import conf_folder
from tunix_exp.errors import UserError
from tunix_exp.models.families.registry import family_of, weight_maps
from tunix_exp.models.from_folder import from_folder
from tunix_exp.references import Hub

OPTION = yaml.safe_load((conf_folder() / "model" / "hf.yaml").read_text())["model"]


def taken(folder, **typed):
    """The model group of the option with what the folder gives."""
    found = from_folder(OPTION | {"weights": str(folder)} | typed)
    assert found is not None
    return found


def refusal(folder, **typed):
    with pytest.raises(UserError) as caught:
        taken(folder, **typed)
    return caught.value


def copy_of(family, folder, **changes):
    """The golden checkpoint of the family with keys of config.json changed, or, as None, left out."""
    shutil.copytree(GOLDENS / family, folder)
    found = json.loads((folder / "config.json").read_text()) | changes
    kept = {key: value for key, value in found.items() if changes.get(key, value) is not None}
    (folder / "config.json").write_text(json.dumps(kept))
    return folder


@pytest.mark.parametrize("family", CONFIGS)
def test_a_folder_gives_every_key_that_the_option_leaves_out(family):
    found = taken(GOLDENS / family)
    config = golden_config(family)
    model = family_of(config).config.model_validate(found.model)
    ours = {"weights": str(GOLDENS / family), "tokenizer": str(GOLDENS / family)}
    ours |= {key: OPTION[key] for key in ("name", "init_std", "layer_loop", "remat")}
    assert model == config.model_copy(update=ours | dict(weight_maps()[config.family].unsaid))
    assert list(found.model) == list(type(config).model_fields)
    from_the_folder = ("family", "stored_dtype", "tokenizer")
    assert set(found.given) == {
        k for k in type(config).model_fields if k not in OPTION or k in from_the_folder
    }


@pytest.mark.parametrize("family", weight_maps())
def test_the_option_has_what_no_folder_has_of_any_family(family):
    config = next(cls for cls in {type(one) for one in CONFIGS.values()} if family in _names(cls))
    names = weight_maps()[family]
    dimensions = {ours for _, ours in names.dimensions}
    assert not dimensions & names.unsaid.keys()
    assert {*config.model_fields} - dimensions - names.unsaid.keys() == OPTION.keys()


def _names(cls):
    return cls.model_fields["family"].annotation.__args__


def test_what_a_folder_gave_is_told_in_words_to_type():
    found = taken(GOLDENS / "gemma3", tokenizer="bundled:bytes")
    said = found.describe()
    assert said.startswith(
        f"model: from {GOLDENS / 'gemma3'}/config.json: family=gemma3, stored_dtype=float32"
    )
    assert "window=5, rope_local_base=10000.0, rope_global_factor=null" in said
    assert said.endswith("; end-of-sequence tokens: [1, 106]")
    assert "tokenizer" not in said


def test_a_whole_config_is_left_alone():
    assert from_folder(golden_config("gemma").model_dump()) is None
    assert from_folder({"family": "made-up", "weights": "random"}) is None  # refused by its name
    lacking = golden_config("gemma").model_dump(exclude={"width"})
    assert from_folder(lacking) is None  # refused by the missing key, as random weights have no width


def test_a_config_may_leave_out_a_part():
    lacking = golden_config("gemma").model_dump(exclude={"width"}) | {"weights": str(GOLDENS / "gemma")}
    found = from_folder(lacking)
    assert found is not None
    assert (found.given, found.model["width"]) == (("width",), 24)


def test_what_was_typed_stays_and_is_refused_where_the_folder_has_another():
    found = taken(GOLDENS / "llama", tokenizer="bundled:bytes", stored_dtype="bfloat16", width=32)
    assert (found.model["tokenizer"], found.model["stored_dtype"]) == ("bundled:bytes", "bfloat16")
    error = refusal(GOLDENS / "llama", width=48, num_layers=2)
    assert "hidden_size is 32, model.width is 48" in error.what
    assert "type model.width=32 model.num_layers=3" in str(error.remedy)
    error = refusal(GOLDENS / "llama", family="gemma")
    assert "another kind of model than the config" in error.what
    assert "choose a model of the family llama" in str(error.remedy)


@pytest.mark.parametrize(
    ("dtype", "name"),
    [(np.float16, "float16"), (ml_dtypes.bfloat16, "bfloat16"), (np.float64, "float32")],
)
def test_the_stored_type_is_that_of_the_tensors(tmp_path, dtype, name):
    folder = copy_of("qwen2", tmp_path / "a", dtype=None)
    stored = load_file(folder / "model.safetensors")
    save_file({key: value.astype(dtype) for key, value in stored.items()}, folder / "model.safetensors")
    assert taken(folder).model["stored_dtype"] == name


def test_of_weights_of_two_types_config_json_says_which_is_meant(tmp_path):
    folder = copy_of("llama", tmp_path / "mixed", dtype="bfloat16", torch_dtype=None)
    (file,) = folder.glob("*.safetensors")
    tensors = {name: values.astype(np.float16) for name, values in load_file(file).items()}
    first = next(iter(tensors))
    save_file(tensors | {first: tensors[first].astype(np.float32)}, file)
    assert taken(folder).model["stored_dtype"] == "bfloat16"


def test_what_names_no_folder_is_refused(tmp_path):
    for weights, says in ((None, "model.weights is null"), ("random", "weights that are random say nothing")):
        with pytest.raises(UserError) as caught:
            from_folder(OPTION | {"weights": weights})
        assert says in caught.value.what
        assert "name a Hugging Face folder, or hub:ORG/NAME@REVISION" in str(caught.value.remedy)
    assert refusal(tmp_path / "nowhere").what == f"no folder {tmp_path / 'nowhere'}"
    assert refusal(tmp_path).what == f"no config.json in {tmp_path}"


@pytest.mark.parametrize(
    ("changes", "says", "remedy"),
    [
        (
            {"model_type": "mamba", "architectures": ["MambaForCausalLM"]},
            "another kind of model: model_type is 'mamba' (MambaForCausalLM); the kinds that are read are the"
            " text-only gpt2, gemma,",
            "name weights of one of these kinds",
        ),
        ({"model_type": None}, "config.json has no model_type, by which the family", "write the model_type"),
        ({"attention_sinks": 4}, "attention_sinks is 4, and what that changes is not known", "take it out"),
        (
            {"hidden_act": "relu"},
            "hidden_act is 'relu', model.family=llama computes 'silu' alone",
            "name other",
        ),
        ({"hidden_size": None}, "hidden_size is missing", "name other weights"),
        (
            {"quantization_config": {"quant_method": "gptq"}},
            "the weights are quantized",
            "before quantization",
        ),
    ],
)
def test_what_is_not_computed_is_refused_by_its_name(tmp_path, changes, says, remedy):
    error = refusal(copy_of("llama", tmp_path / "a", **changes))
    assert error.where == str(tmp_path / "a" / "config.json")
    assert says in error.what
    assert remedy in str(error.remedy)


def test_the_hub_is_asked_for_the_config_alone(tmp_path, monkeypatch):
    from tunix_exp.hub import snapshot

    folder, asked = tmp_path / "a", []
    shutil.copytree(GOLDENS / "llama", folder)
    (folder / "model.safetensors").unlink()
    monkeypatch.setattr(snapshot, "is_cached", lambda reference: False)
    monkeypatch.setattr(snapshot, "fetch_config", lambda reference: asked.append(reference) or folder)
    found = taken("hub:org/name@main")
    assert asked == [Hub("org/name", "main", None, None)]
    assert (found.model["width"], found.model["stored_dtype"]) == (32, "float32")
    assert found.model["tokenizer"] == "hub:org/name@main"
    assert found.source == "hub:org/name@main/config.json"
