import hashlib
import json

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import save_file

from tests.models.toys import toy_config
from tunix_exp.errors import UserError
from tunix_exp.models import hf
from tunix_exp.models.architecture import abstract
from tunix_exp.models.digest import weight_hash
from tunix_exp.models.safetensors_file import Stored

LAYERS, WIDTH = 3, 16
CONFIG = {
    "model_type": "gpt2",
    "activation_function": "gelu_new",
    "vocab_size": 31,
    "n_positions": 24,
    "n_embd": WIDTH,
    "n_inner": 48,
    "n_layer": LAYERS,
    "n_head": 2,
    "layer_norm_epsilon": 1e-5,
}


def tensors(prefix="", dtype=np.float32):
    rng = np.random.default_rng(0)
    shapes = {"wte.weight": (31, WIDTH), "wpe.weight": (24, WIDTH)}
    for layer in range(LAYERS):
        for name, shape in {
            "ln_1.weight": (WIDTH,),
            "ln_1.bias": (WIDTH,),
            "attn.c_attn.weight": (WIDTH, 3 * WIDTH),
            "attn.c_attn.bias": (3 * WIDTH,),
            "attn.c_proj.weight": (WIDTH, WIDTH),
            "attn.c_proj.bias": (WIDTH,),
            "ln_2.weight": (WIDTH,),
            "ln_2.bias": (WIDTH,),
            "mlp.c_fc.weight": (WIDTH, 48),
            "mlp.c_fc.bias": (48,),
            "mlp.c_proj.weight": (48, WIDTH),
            "mlp.c_proj.bias": (WIDTH,),
        }.items():
            shapes[f"h.{layer}.{name}"] = shape
    shapes |= {"ln_f.weight": (WIDTH,), "ln_f.bias": (WIDTH,)}
    return {prefix + name: rng.standard_normal(shape).astype(dtype) for name, shape in shapes.items()}


def write(folder, contents=None, config=CONFIG):
    (folder / "config.json").write_text(json.dumps(config))
    save_file(tensors() if contents is None else contents, folder / "model.safetensors")
    return folder


def read(folder, *, param_dtype=jnp.float32, **changes):
    config = toy_config(**changes)
    shapes = nnx.state(abstract(config, param_dtype=param_dtype, compute_dtype=jnp.float32))
    return hf.read(folder, config, shapes)


def refusal(folder, **changes):
    with pytest.raises(UserError) as raised:
        read(folder, **changes)
    return raised.value


def test_every_tensor_lands_where_it_belongs(tmp_path):
    stored = tensors()
    flat = dict(nnx.to_flat_state(read(write(tmp_path)).params))
    for path, name in {
        ("token_embedding", "embedding"): "wte.weight",
        ("position_embedding", "embedding"): "wpe.weight",
        ("blocks", 1, "attention", "qkv", "kernel"): "h.1.attn.c_attn.weight",
        ("blocks", 2, "attention", "out", "bias"): "h.2.attn.c_proj.bias",
        ("blocks", 0, "mlp", "down", "kernel"): "h.0.mlp.c_proj.weight",
        ("blocks", 0, "mlp_norm", "scale"): "h.0.ln_2.weight",
        ("final_norm", "bias"): "ln_f.bias",
    }.items():
        np.testing.assert_array_equal(flat[path][...], stored[name], err_msg=name)
    assert len(flat) == len(stored)


def test_stacked_layers_hold_the_same_values(tmp_path):
    write(tmp_path)
    stacked = read(tmp_path, layer_loop="scan").params
    assert weight_hash(stacked) == weight_hash(read(tmp_path).params)
    kernel_LIO = dict(nnx.to_flat_state(stacked))[("blocks", "mlp", "up", "kernel")]
    np.testing.assert_array_equal(kernel_LIO[2], tensors()["h.2.mlp.c_fc.weight"])


def test_names_may_start_with_transformer(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    plain = read(write(tmp_path / "a"))
    prefixed = read(write(tmp_path / "b", tensors(prefix="transformer.")))
    assert weight_hash(prefixed.params) == weight_hash(plain.params)


def test_shards_are_read_through_their_index(tmp_path):
    whole = read(write(tmp_path)).params
    (tmp_path / "model.safetensors").unlink()
    names = list(tensors())
    shards = {"one.safetensors": names[:9], "two.safetensors": names[9:]}
    for file, part in shards.items():
        save_file({name: tensors()[name] for name in part}, tmp_path / file)
    index = {"weight_map": {name: file for file, part in shards.items() for name in part}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    contents = read(tmp_path)
    assert weight_hash(contents.params) == weight_hash(whole)
    assert list(contents.files) == [
        "config.json",
        "model.safetensors.index.json",
        "one.safetensors",
        "two.safetensors",
    ]
    (tmp_path / "two.safetensors").unlink()
    assert "names files that are not there: 'two.safetensors'" in str(refusal(tmp_path))


def test_values_are_cast_to_the_parameters_dtype(tmp_path):
    write(tmp_path, tensors(dtype=ml_dtypes.bfloat16))
    contents = read(tmp_path)
    assert contents.stored_dtypes == ("BF16",)
    assert {leaf.dtype for leaf in jax.tree.leaves(contents.params)} == {jnp.dtype(jnp.float32)}
    narrow = read(tmp_path, param_dtype=jnp.bfloat16).params
    assert {leaf.dtype for leaf in jax.tree.leaves(narrow)} == {jnp.dtype(jnp.bfloat16)}


def test_files_are_hashed(tmp_path):
    files = read(write(tmp_path)).files
    assert files == {
        name: hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
        for name in ("config.json", "model.safetensors")
    }


def test_stored_masks_and_an_equal_output_table_are_no_parameters(tmp_path):
    plain = weight_hash(read(write(tmp_path)).params)
    more = tensors()
    more["h.0.attn.bias"] = np.ones((1, 1, 24, 24), np.uint8)
    more["h.2.attn.masked_bias"] = np.float32([-1e4])
    more["lm_head.weight"] = more["wte.weight"].copy()
    assert weight_hash(read(write(tmp_path, more)).params) == plain


def test_an_untied_output_table_is_read_and_missed_and_belongs_to_no_tied_model(tmp_path):
    more = tensors(prefix="transformer.")
    more["lm_head.weight"] = more["transformer.wte.weight"] + 1
    write(tmp_path, more, CONFIG | {"tie_word_embeddings": False})
    flat = dict(nnx.to_flat_state(read(tmp_path, tied_embeddings=False).params))
    for path, name in {"output": "lm_head.weight", "token": "transformer.wte.weight"}.items():
        np.testing.assert_array_equal(flat[(f"{path}_embedding", "embedding")][...], more[name])
    error = refusal(tmp_path)
    assert "tie_word_embeddings is False, model.tied_embeddings is True" in str(error)
    assert "type model.tied_embeddings=false, or" in str(error.remedy)
    del more["lm_head.weight"]
    write(tmp_path, more, CONFIG | {"tie_word_embeddings": False})
    missing = "lm_head.weight is missing, so output_embedding/embedding stays unfilled"
    assert missing in str(refusal(tmp_path, tied_embeddings=False))


def test_tensors_that_do_not_fit_are_all_named(tmp_path):
    wrong = tensors()
    wrong["h.0.mlp.c_fc.weight"] = wrong["h.0.mlp.c_fc.weight"].T.copy()
    wrong["ln_f.bias"] = wrong["ln_f.bias"].astype(np.int32)
    wrong["h.3.attn.bias"] = np.ones(1, np.float32)
    wrong["lm_head.weight"] = wrong["wte.weight"] + 1
    del wrong["wpe.weight"]
    error = refusal(write(tmp_path, wrong))
    assert error.what.splitlines() == [
        "the stored tensors do not fit the model:",
        "  h.0.mlp.c_fc.weight has shape [48, 16], blocks/0/mlp/up/kernel needs [16, 48]",
        "  ln_f.bias is stored as I32, final_norm/bias needs one of F16, BF16, F32, F64",
        "  wpe.weight is missing, so position_embedding/embedding stays unfilled",
        "  h.3.attn.bias is not used by the model",
        "  lm_head.weight differs from wte.weight, to which the model ties it",
    ]
    assert error.where == str(tmp_path)


def test_a_tensor_stored_twice_is_refused(tmp_path):
    twice = tensors() | {"transformer.ln_f.bias": np.zeros(WIDTH, np.float32)}
    assert "tensors are stored twice" in str(refusal(write(tmp_path, twice)))


def test_dimensions_that_differ_are_all_named_with_the_override_to_type(tmp_path):
    write(tmp_path)
    error = refusal(tmp_path, width=32, num_heads=4, norm_epsilon=1e-6)
    assert error.what.splitlines() == [
        "the weights are of another model than the config:",
        "  n_embd is 16, model.width is 32",
        "  n_head is 2, model.num_heads is 4",
        "  layer_norm_epsilon is 1e-05, model.norm_epsilon is 1e-06",
    ]
    assert "type model.width=16 model.num_heads=2 model.norm_epsilon=1e-05, or" in str(error.remedy)
    assert error.where == str(tmp_path / "config.json")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("activation_function", "gelu"),
        ("scale_attn_weights", False),
        ("scale_attn_by_inverse_layer_idx", True),
        ("reorder_and_upcast_attn", True),
        ("add_cross_attention", True),
    ],
)
def test_a_variant_that_is_not_computed_is_refused(tmp_path, key, value):
    error = refusal(write(tmp_path, config=CONFIG | {key: value}))
    assert f"{key} is {value!r}, model.family=gpt2 computes" in str(error)


@pytest.mark.parametrize("key", [key for key in CONFIG if key != "n_inner"])
def test_a_key_missing_from_the_config_is_named(tmp_path, key):
    config = {k: v for k, v in CONFIG.items() if k != key}
    if key == "n_embd":
        config["n_inner"] = 48
    assert f"{key} is missing, model." in str(refusal(write(tmp_path, config=config)))


@pytest.mark.parametrize(
    "config", [CONFIG | {"n_inner": None}, {k: v for k, v in CONFIG.items() if k != "n_inner"}]
)
def test_no_mlp_width_means_four_times_the_width(tmp_path, config):
    write(tmp_path, config=config)
    assert "n_inner is 64, model.mlp_width is 48" in str(refusal(tmp_path))


def test_a_folder_with_only_a_pickle_is_refused(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    error = refusal(tmp_path)
    assert "the weights are pickled (pytorch_model.bin)" in error.what
    assert f"M.from_pretrained('{tmp_path}', dtype='auto').save_pretrained('./converted')" in str(
        error.remedy
    )
    assert "have PyTorch, and name ./converted in model.weights" in str(error.remedy)


def test_a_folder_without_weights_is_refused(tmp_path):
    assert "neither model.safetensors nor model.safetensors.index.json" in str(refusal(tmp_path))


def test_a_folder_without_config_is_refused(tmp_path):
    write(tmp_path)
    (tmp_path / "config.json").unlink()
    assert "no config.json in" in str(refusal(tmp_path))


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    assert f"no folder {tmp_path}/absent" in str(refusal(tmp_path / "absent"))


def test_one_tensor_at_a_time_is_held(tmp_path, monkeypatch):
    """Each parameter is on its way to the device before the next tensor is read."""
    events = []
    values, put = Stored.values, jax.device_put
    monkeypatch.setattr(Stored, "values", lambda self: events.append("read") or values(self))
    monkeypatch.setattr(hf.jax, "device_put", lambda *a, **k: events.append("put") or put(*a, **k))
    read(write(tmp_path))
    assert events == ["read", "put"] * len(tensors())


def test_every_value_can_be_donated(tmp_path, monkeypatch):
    """Where a value lives in the reader's memory, a step that takes it as donated needs twice the memory."""

    values_of = Stored.values

    def aligned(self):
        values = values_of(self)
        room = np.empty(values.nbytes + 64, np.uint8)
        start = -room.ctypes.data % 64
        room = room[start : start + values.nbytes].view(values.dtype).reshape(values.shape)
        room[...] = values
        return room

    monkeypatch.setattr(Stored, "values", aligned)
    leaf = jax.tree.leaves(read(write(tmp_path)).params)[0]
    address = leaf.unsafe_buffer_pointer()
    assert jax.jit(lambda x: x + 1, donate_argnums=0)(leaf).unsafe_buffer_pointer() == address


def test_a_stack_of_layers_is_filled_in_place():
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    empty, with_layer = hf._stacking((2, 3), np.dtype("float32"), sharding)
    whole = empty()
    filled = with_layer(whole, np.ones(3, np.float32), 1)
    assert filled.tolist() == [[0.0] * 3, [1.0] * 3]
    assert whole.is_deleted()


@pytest.mark.parametrize(
    ("generation", "config", "ids"),
    [
        ({"eos_token_id": [1, 30]}, {"eos_token_id": 1}, (1, 30)),
        ({"eos_token_id": 1}, {}, (1,)),
        ({}, {"eos_token_id": [1, 30]}, (1, 30)),
        (None, {"eos_token_id": 0}, (0,)),
        (None, {"eos_token_id": None}, ()),
    ],
)
def test_the_tokens_that_end_an_answer_are_one_or_a_list(tmp_path, generation, config, ids):
    write(tmp_path, config=CONFIG | config)
    if generation is not None:
        (tmp_path / "generation_config.json").write_text(json.dumps(generation))
    contents = read(tmp_path)
    assert contents.end_ids == ids
    assert ("generation_config.json" in contents.files) == (generation is not None)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("layer_loop", ["unroll", "scan"])
def test_a_tensor_with_a_number_that_is_not_finite_is_named(tmp_path, value, layer_loop):
    broken = tensors()
    broken["h.1.mlp.c_fc.weight"][3, 5] = value
    error = refusal(write(tmp_path, broken), layer_loop=layer_loop)
    assert error.what.startswith("h.1.mlp.c_fc.weight holds NaN or infinity")
    assert error.where == str(tmp_path / "model.safetensors")


@pytest.mark.parametrize("dtype", ["float32", "float16", ml_dtypes.bfloat16, "float64"])
def test_every_place_of_an_array_is_looked_at_for_what_is_not_finite(dtype):
    # a transposed one too, longer than a piece
    values = np.full((3, 2**17), np.finfo(np.float16).max, dtype).T
    assert hf.is_finite(values)
    assert hf.is_finite(-values)
    for place in ((0, 0), (2**17 - 1, 2), (70_000, 1)):
        for bad in (np.nan, np.inf, -np.inf):
            broken = values.copy(order="K")
            broken[place] = bad
            assert not hf.is_finite(broken)


@pytest.mark.parametrize(
    "name",
    ["attn.c_attn.weight.absmax", "attn.c_attn.qweight", "attn.c_attn.weight_packed", "mlp.c_fc_blocks"],
)
def test_tensors_of_quantized_weights_are_refused_though_config_json_says_nothing(tmp_path, name):
    write(tmp_path, tensors() | {f"h.0.{name}": np.zeros(4, np.uint8)})
    error = refusal(tmp_path)
    assert error.what == f"the weights are quantized, as h.0.{name} says (1 tensors of that kind)"
    assert "as they were before quantization" in str(error.remedy)


def test_float16_weights_are_read_exactly(tmp_path):
    stored = tensors(dtype=np.float16)
    contents = read(write(tmp_path, stored))
    assert contents.stored_dtypes == ("F16",)
    flat = dict(nnx.to_flat_state(contents.params))
    table_VD = flat["token_embedding", "embedding"][...]
    np.testing.assert_array_equal(table_VD, stored["wte.weight"].astype(np.float32))


def test_of_several_processes_each_reads_its_part_of_a_tensor_and_nothing_else(tmp_path, monkeypatch):
    config = toy_config(
        vocab_size=31, num_positions=24, width=WIDTH, mlp_width=48, num_layers=LAYERS, num_heads=2
    )
    shapes = nnx.state(abstract(config, param_dtype="float32", compute_dtype="float32"))
    whole = hf.read(write(tmp_path), config, shapes).params
    monkeypatch.setattr(hf, "is_of_several", lambda where: True)

    def of_rows(rows):
        def made(shape, where, read):
            return jnp.asarray(read((*(slice(None) for _ in shape[:-1]), slice(rows))))

        monkeypatch.setattr(hf.jax, "make_array_from_callback", made)
        return hf.read(tmp_path, config, shapes).params

    assert weight_hash(of_rows(None)) == weight_hash(whole)
    broken = tensors()
    for values in broken.values():
        values[..., 8:] = np.nan
    write(tmp_path, broken)
    with pytest.raises(UserError, match="holds NaN or infinity"):
        of_rows(None)
    parts = jax.tree.leaves(of_rows(8))
    assert [part.shape[-1] for part in parts] == [8] * len(parts)
