import threading

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from flax import nnx

from tests.models.lora_toys import lora_config
from tests.models.test_hf import tensors, write
from tests.models.toys import toy_config, toy_model
from tunix_exp.errors import UserError
from tunix_exp.hub.snapshot import Snapshot
from tunix_exp.models import lora, weights
from tunix_exp.models.adapter import NoAdapterConfig
from tunix_exp.models.digest import weight_hash
from tunix_exp.models.sharding import AXES
from tunix_exp.references import Hub

NONE = NoAdapterConfig(name="none")
DTYPES = {"param_dtype": "float32", "compute_dtype": "float32"}


def load(reference, seed=0):
    return weights.load(toy_config(weights=str(reference)), NONE, **DTYPES, seed=seed)


def test_random_weights_are_those_of_the_seed():
    loaded = load("random")
    assert weight_hash(nnx.state(loaded.model)) == weight_hash(nnx.state(toy_model()))
    assert (loaded.revision, loaded.files, loaded.stored_dtypes) == (None, {}, ())


def test_a_folder_gives_the_model_and_what_was_read(tmp_path):
    loaded = load(write(tmp_path))
    assert loaded.revision is None
    assert sorted(loaded.files) == ["config.json", "model.safetensors"]
    assert loaded.stored_dtypes == ("F32",)
    one = jnp.ones((1, 3), jnp.int32)
    assert np.isfinite(loaded.model.logits(loaded.model.hidden(one, one, one)[0])).all()


def test_a_hub_reference_is_resolved_to_its_commit(tmp_path, monkeypatch):
    asked = []

    def resolve(reference):
        asked.append(reference)
        return Snapshot("c" * 40, write(tmp_path))

    monkeypatch.setattr(weights.snapshot, "resolve", resolve)
    loaded = load("hub:org/name@main")
    assert asked == [Hub("org/name", "main", None, None)]
    assert loaded.revision == "c" * 40
    assert len(loaded.files) == 2


def test_bundled_weights_are_refused():
    with pytest.raises(UserError, match="no weights are bundled, so bundled:bytes names none"):
        load("bundled:bytes")


def halves(tmp_path):
    return write(tmp_path, {name: values.astype(ml_dtypes.bfloat16) for name, values in tensors().items()})


def load_beside_an_adapter(folder, stored_dtype, **changes):
    config = toy_config(weights=str(folder), stored_dtype=stored_dtype)
    return weights.load(config, lora_config(**changes), **DTYPES, seed=0).model


def dtypes_of(params):
    return {leaf.dtype for leaf in jax.tree.leaves(params)}


def test_frozen_weights_stay_as_they_are_stored_and_the_adapter_is_float32(tmp_path):
    _, trained, (frozen,) = lora.split(load_beside_an_adapter(halves(tmp_path), "bfloat16"))
    assert dtypes_of(frozen) == {jnp.dtype("bfloat16")}
    assert dtypes_of(trained) == {jnp.dtype("float32")}
    stored = np.asarray(tensors()["h.1.mlp.c_fc.weight"].astype(ml_dtypes.bfloat16))
    np.testing.assert_array_equal(frozen["blocks"][1]["mlp"]["up"]["kernel"][...], stored)


def test_trained_weights_are_of_the_device_s_dtype_however_they_are_stored(tmp_path):
    config = toy_config(weights=str(halves(tmp_path)), stored_dtype="bfloat16")
    assert dtypes_of(nnx.state(weights.load(config, NONE, **DTYPES, seed=0).model)) == {jnp.dtype("float32")}


def test_random_weights_are_drawn_in_the_dtype_they_are_frozen_in():
    _, _, (frozen,) = lora.split(load_beside_an_adapter("random", "bfloat16"))
    assert dtypes_of(frozen) == {jnp.dtype("bfloat16")}


def test_frozen_weights_that_are_stored_otherwise_than_the_config_says_are_refused_before_anything(tmp_path):
    config = toy_config(weights=str(halves(tmp_path)))
    for asked in (
        lambda: weights.check_access(config, lora_config()),
        lambda: load_beside_an_adapter(tmp_path, "float32"),
    ):
        with pytest.raises(
            UserError, match=r"(?s)stored in bfloat16, .* is float32.*type model.stored_dtype=bfloat16"
        ):
            asked()
    weights.check_access(config, NONE)


def test_what_load_would_refuse_is_refused_by_the_headers_alone(tmp_path):
    config = toy_config(weights=str(write(tmp_path)))
    weights.check_access(config, NONE)
    fewer = {name: values for name, values in tensors().items() if name != "ln_f.bias"}
    write(tmp_path, fewer)
    for asked in (lambda: weights.check_access(config, NONE), lambda: load(tmp_path)):
        with pytest.raises(UserError, match=r"ln_f.bias is missing, so final_norm/bias stays unfilled"):
            asked()


def test_a_folder_that_is_not_there_is_refused_before_anything(tmp_path):
    absent = str(tmp_path / "nowhere")
    for config, adapter in ((toy_config(weights=absent), NONE), (toy_config(), lora_config(weights=absent))):
        with pytest.raises(UserError, match="no folder"):
            weights.check_access(config, adapter)


def test_of_weights_that_the_hub_has_to_send_the_config_is_judged_first(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(weights.snapshot, "is_cached", lambda reference: False)
    monkeypatch.setattr(weights.snapshot, "check_access", asked.append)
    monkeypatch.setattr(weights.snapshot, "fetch_config", lambda reference: write(tmp_path))
    weights.check_access(toy_config(weights="hub:org/name@main"), NONE)
    assert asked == [Hub("org/name", "main", None, None)]
    with pytest.raises(UserError, match=r"n_layer is 3, model.num_layers is 2"):
        weights.check_access(toy_config(weights="hub:org/name@main", num_layers=2), NONE)


def test_weights_of_the_hub_that_are_here_are_judged_like_a_folder(tmp_path, monkeypatch):
    write(tmp_path, {name: values for name, values in tensors().items() if name != "ln_f.bias"})
    monkeypatch.setattr(weights.snapshot, "is_cached", lambda reference: True)
    monkeypatch.setattr(weights.snapshot, "resolve", lambda reference: Snapshot("c" * 40, tmp_path))
    with pytest.raises(UserError, match=r"ln_f\.bias is missing"):
        weights.check_access(toy_config(weights="hub:org/name@main"), NONE)


def test_frozen_weights_stored_in_two_dtypes_are_refused(tmp_path):
    mixed = tensors() | {"wte.weight": tensors()["wte.weight"].astype(ml_dtypes.bfloat16)}
    with pytest.raises(UserError, match=r"(?s)stored in bfloat16 and float32.*store them all in float32"):
        load_beside_an_adapter(write(tmp_path, mixed), "float32")


def begin(config, *, beside):
    mesh = jax.make_mesh((1, 1, 1), AXES, axis_types=(jax.sharding.AxisType.Auto,) * 3)
    return weights.begin(config, NONE, **DTYPES, seed=0, mesh=mesh, beside=beside)


def thread_that_loads(monkeypatch):
    """The name of the thread that loaded, once one has."""
    names, real = [], weights.load

    def load(*arguments, **named):
        names.append(threading.current_thread().name)
        return real(*arguments, **named)

    monkeypatch.setattr(weights, "load", load)
    return names


@pytest.mark.parametrize(("beside", "thread"), [(True, "weights_0"), (False, "MainThread")])
def test_weights_are_loaded_beside_other_work_or_when_waited_for(monkeypatch, beside, thread):
    names = thread_that_loads(monkeypatch)
    wait = begin(toy_config(), beside=beside)
    assert weight_hash(nnx.state(wait().model)) == weight_hash(nnx.state(toy_model()))
    assert names == [thread]


def test_what_the_hub_has_to_send_is_not_begun_before_it_is_waited_for(tmp_path, monkeypatch):
    names = thread_that_loads(monkeypatch)
    monkeypatch.setattr(weights.snapshot, "resolve", lambda reference: Snapshot("c" * 40, write(tmp_path)))
    monkeypatch.setattr(weights.snapshot, "is_cached", lambda reference: False)
    wait = begin(toy_config(weights="hub:org/name@main"), beside=True)
    assert names == []
    assert wait().revision == "c" * 40
    assert names == ["MainThread"]


def test_what_fails_beside_other_work_fails_where_it_is_waited_for(tmp_path):
    wait = begin(toy_config(weights=str(tmp_path / "none")), beside=True)
    with pytest.raises(UserError, match="none"):
        wait()


def refused_before_anything(config, adapter=NONE):
    with pytest.raises(UserError) as caught:
        weights.check_access(config, adapter)
    return str(caught.value)


def test_a_folder_is_examined_before_anything_has_cost_time(tmp_path):
    config = toy_config(weights=str(write(tmp_path)))
    weights.check_access(config, NONE)
    assert "no folder" in refused_before_anything(toy_config(weights=str(tmp_path / "absent")))
    assert "is a file" in refused_before_anything(toy_config(weights=str(tmp_path / "config.json")))
    assert "n_embd is 16, model.width is 32" in refused_before_anything(
        toy_config(weights=str(tmp_path), width=32)
    )
    write(tmp_path, tensors() | {"lm_head.weight": tensors()["wte.weight"] + 1})
    assert "lm_head.weight differs from wte.weight" in refused_before_anything(config)
    write(tmp_path, {name: value for name, value in tensors().items() if name != "h.1.ln_1.bias"})
    assert "h.1.ln_1.bias is missing" in refused_before_anything(config)
    write(tmp_path, {f"language_model.{name}": value for name, value in tensors().items()})
    assert "language_model.h.0.attn.c_attn.bias is not used by the model" in refused_before_anything(config)
    assert "no weights are bundled" in refused_before_anything(toy_config(weights="bundled:x"))


def test_an_adapter_is_examined_before_anything_has_cost_time(tmp_path):
    adapter = lora_config(weights=str(tmp_path))
    assert "no adapter_model.safetensors in" in refused_before_anything(toy_config(), adapter)
    absent = lora_config(weights=str(tmp_path / "absent"))
    assert "no folder" in refused_before_anything(toy_config(), absent)


def test_a_cached_snapshot_is_examined_as_a_folder_is(tmp_path, monkeypatch):
    write(tmp_path, config={"model_type": "llama", "architectures": ["LlamaForCausalLM"]})
    monkeypatch.setattr(weights.snapshot, "is_cached", lambda reference: True)
    monkeypatch.setattr(weights.snapshot, "check_access", lambda reference: None)
    monkeypatch.setattr(weights.snapshot, "resolve", lambda reference: Snapshot("c" * 40, tmp_path))
    assert "model_type is 'llama'" in refused_before_anything(toy_config(weights="hub:org/name@main"))
