"""What of config.json and generation_config.json is taken; the dimensions' own tests are in test_hf.py."""

import json

import pytest

from tests.composing import composed
from tests.models.toys import toy_config
from tunix_exp import config as configs
from tunix_exp.errors import UserError
from tunix_exp.models.hf_config import check_model, end_ids

CONFIG = {
    "model_type": "gpt2",
    "activation_function": "gelu_new",
    "vocab_size": 31,
    "n_positions": 24,
    "n_embd": 16,
    "n_inner": 48,
    "n_layer": 3,
    "n_head": 2,
    "layer_norm_epsilon": 1e-5,
}


def check(folder, changes, name="config.json"):
    (folder / "config.json").write_text(json.dumps(CONFIG))
    said = CONFIG if name == "config.json" else {}
    (folder / name).write_text(json.dumps(said | changes))
    check_model(folder, toy_config())


def refusal(folder, changes, name="config.json"):
    with pytest.raises(UserError) as caught:
        check(folder, changes, name)
    assert caught.value.where == str(folder / name)
    return caught.value


QUANTIZED = {
    "bitsandbytes": {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}},
    "gptq": {"quantization_config": {"quant_method": "gptq", "bits": 4}},
    "awq": {"quantization_config": {"quant_method": "awq"}},
    "compressed-tensors": {"quantization_config": {"quant_method": "compressed-tensors", "format": "int"}},
    "mxfp4": {"quantization_config": {"quant_method": "mxfp4"}},
    "fp8": {"quantization_config": {"quant_method": "fp8"}},
    "of MLX": {"quantization": {"group_size": 64, "bits": 4}},
    "compressed": {"compression_config": {"format": "pack-quantized"}},
    "empty": {"quantization_config": {}},
}


@pytest.mark.parametrize("changes", QUANTIZED.values(), ids=QUANTIZED)
def test_quantized_weights_are_refused_by_their_key(tmp_path, changes):
    error = refusal(tmp_path, changes)
    method = next(iter(changes.values())).get("quant_method")
    by = "" if method is None else f" by {method}"
    assert f"the weights are quantized{by}: {next(iter(changes))} is " in error.what
    assert "as they were before quantization" in str(error.remedy)


def test_a_file_that_tells_of_quantization_is_refused(tmp_path):
    (tmp_path / "quantize_config.json").write_text("{}")
    assert "the weights are quantized: quantize_config.json is there" in refusal(tmp_path, {}).what


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"attention_variant": "fast"}, "attention_variant is 'fast', and what that changes is not known"),
        ({"auto_map": {"AutoModel": "m.M"}}, "auto_map is {'AutoModel': 'm.M'}, and what that changes"),
        ({"per_layer_config": {"0": {}}}, "per_layer_config is {'0': {}}, and what"),
        ({"rope_scaling": {"type": "linear"}}, "rope_scaling is {'type': 'linear'}, and what"),
        ({"sliding_window": 8}, "sliding_window is 8, and what"),
        ({"\ud800": 1}, r"\ud800 is 1, and what"),
        ({"pruned_heads": {"0": [1]}}, "pruned_heads is {'0': [1]}, not empty"),
        ({"is_encoder_decoder": True}, "is_encoder_decoder is True, not false"),
        ({"torch_dtype": "int8"}, "torch_dtype is 'int8', not one of float32"),
        ({"n_layer": True}, "n_layer is True, not a whole number above 0"),
        ({"n_layer": 3.0}, "n_layer is 3.0, not a whole number above 0"),
        ({"n_embd": "16"}, "n_embd is '16', not a whole number above 0"),
        ({"n_embd": None}, "n_embd is None, not a whole number above 0"),
        ({"n_inner": [48]}, "n_inner is [48], not a whole number above 0 or null"),
        ({"layer_norm_epsilon": "1e-5"}, "layer_norm_epsilon is '1e-5', not a number above 0"),
        ({"tie_word_embeddings": 1}, "tie_word_embeddings is 1, not true or false"),
        ({"reorder_and_upcast_attn": True}, "reorder_and_upcast_attn is True, model.family=gpt2 computes"),
        ({"eos_token_id": "1"}, "eos_token_id is '1', not the number of a token, 0 to 30"),
        ({"bos_token_id": -1}, "bos_token_id is -1, not the number of a token"),
        ({"pad_token_id": 31}, "pad_token_id is 31, not the number of a token"),
    ],
)
def test_what_is_not_understood_is_refused_by_its_name(tmp_path, changes, says):
    assert says in refusal(tmp_path, changes).what


@pytest.mark.parametrize(
    "changes",
    [
        {"transformers_version": "5.0", "architectures": ["GPT2LMHeadModel"], "use_cache": True},
        {"n_ctx": 24, "task_specific_params": {"text-generation": {"do_sample": True}}, "resid_pdrop": 0.1},
        {"id2label": {"0": "LABEL_0"}, "_num_labels": 1, "label2id": {"LABEL_0": 0}, "output_past": True},
        {"summary_type": "cls_index", "summary_activation": None, "torch_dtype": "float16", "dtype": None},
        {"quantization_config": None, "a_key_of_tomorrow": None, "pruned_heads": {}, "architectures": None},
    ],
)
def test_what_changes_nothing_may_stand_there(tmp_path, changes):
    check(tmp_path, changes)


@pytest.mark.parametrize("value", ["1", 1.0, True, -1, 31, [], [1, "2"], [[1]], {"a": 1}, [1, 31]])
def test_a_special_token_that_is_none_of_the_vocabulary_is_refused(tmp_path, value):
    error = refusal(tmp_path, {"eos_token_id": value}, "generation_config.json")
    assert f"eos_token_id is {value!r}, not the number of a token, 0 to 30" in error.what
    assert "the tokenizer gives the token" in str(error.remedy)
    with pytest.raises(UserError, match="eos_token_id is"):
        end_ids(tmp_path, 31)


MULTIMODAL = {
    "model_type": "gemma3n",
    "architectures": ["Gemma3nForConditionalGeneration"],
    "text_config": {"model_type": "gemma3n_text"},
    "vision_config": {},
}


@pytest.mark.parametrize(
    ("changes", "says", "remedy"),
    [
        (
            MULTIMODAL,
            "a multimodal checkpoint: model_type is 'gemma3n' (Gemma3nForConditionalGeneration)",
            "or one of which the text part is read (model_type gemma3)",
        ),
        (
            {"model_type": "llava", "text_config": {}},
            "a multimodal checkpoint: model_type is 'llava'",
            "text-",
        ),
        (
            {"model_type": "mistral", "architectures": ["MistralForCausalLM"]},
            "model_type is 'mistral' (MistralForCausalLM); the kinds that are read are the text-only gpt2,",
            "name weights of one of these kinds",
        ),
        (
            {"model_type": "gemma2", "architectures": ["Gemma2ForCausalLM"]},
            "model_type is 'gemma2' (Gemma2ForCausalLM), which is model.family=gemma2",
            "choose a model of the family gemma2",
        ),
        (
            {"architectures": ["GPT2ForSequenceClassification"]},
            "architectures is ['GPT2ForSequenceClassification']",
            "causal language model",
        ),
        ({"model_type": ["gpt2"]}, "model_type is ['gpt2']", "name weights"),
    ],
)
def test_another_kind_of_checkpoint_is_refused_by_what_it_is(tmp_path, changes, says, remedy):
    error = refusal(tmp_path, changes)
    assert says in error.what
    assert remedy in str(error.remedy)
    assert len(error.what.splitlines()) == 1


GPT2 = {
    "activation_function": "gelu_new", "architectures": ["GPT2LMHeadModel"], "attn_pdrop": 0.1,
    "bos_token_id": 50256, "embd_pdrop": 0.1, "eos_token_id": 50256, "initializer_range": 0.02,
    "layer_norm_epsilon": 1e-05, "model_type": "gpt2", "n_ctx": 1024, "n_embd": 768, "n_head": 12,
    "n_layer": 12, "n_positions": 1024, "resid_pdrop": 0.1, "summary_activation": None,
    "summary_first_dropout": 0.1,
    "summary_proj_to_labels": True, "summary_type": "cls_index", "summary_use_proj": True,
    "task_specific_params": {"text-generation": {"do_sample": True, "max_length": 50}}, "vocab_size": 50257,
}  # fmt: skip
DISTILLED = {"_num_labels": 1, "id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}, "n_layer": 6}
OF_GEMMA = {
    "attention_bias": False, "attention_dropout": 0.0, "bos_token_id": 2, "eos_token_id": 1, "head_dim": 256,
    "initializer_range": 0.02, "max_position_embeddings": 8192, "pad_token_id": 0, "rms_norm_eps": 1e-06,
    "rope_theta": 10000.0, "torch_dtype": "bfloat16", "transformers_version": "4.38.0.dev0",
    "use_cache": True,
    "vocab_size": 256000,
}  # fmt: skip
GEMMA = OF_GEMMA | {
    "architectures": ["GemmaForCausalLM"], "model_type": "gemma", "hidden_act": "gelu", "hidden_size": 2048,
    "intermediate_size": 16384, "num_attention_heads": 8, "num_hidden_layers": 18, "num_key_value_heads": 1,
    "rope_scaling": None,
}  # fmt: skip
GEMMA2 = OF_GEMMA | {
    "architectures": ["Gemma2ForCausalLM"], "model_type": "gemma2", "hidden_act": "gelu_pytorch_tanh",
    "hidden_activation": "gelu_pytorch_tanh", "hidden_size": 2304, "intermediate_size": 9216,
    "num_attention_heads": 8, "num_hidden_layers": 26, "num_key_value_heads": 4, "query_pre_attn_scalar": 256,
    "sliding_window": 4096, "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0,
    "cache_implementation": "hybrid", "torch_dtype": "float32",
}  # fmt: skip
GEMMA2_9B = GEMMA2 | {
    "hidden_size": 3584, "intermediate_size": 14336, "num_attention_heads": 16, "num_hidden_layers": 42,
    "num_key_value_heads": 8,
}  # fmt: skip
GEMMA3 = OF_GEMMA | {
    "architectures": ["Gemma3ForCausalLM"], "model_type": "gemma3_text", "vocab_size": 262144,
    "hidden_activation": "gelu_pytorch_tanh", "hidden_size": 1152, "intermediate_size": 6912,
    "max_position_embeddings": 32768, "num_attention_heads": 4, "num_hidden_layers": 26,
    "num_key_value_heads": 1, "query_pre_attn_scalar": 256, "rope_local_base_freq": 10000,
    "rope_scaling": None, "rope_theta": 1000000, "sliding_window": 512, "sliding_window_pattern": 6,
    "attn_logit_softcapping": None, "final_logit_softcapping": None, "cache_implementation": "hybrid",
    "eos_token_id": [1, 106],
}  # fmt: skip


@pytest.mark.parametrize(
    ("option", "found"),
    [("gpt2", GPT2), ("distilgpt2", GPT2 | DISTILLED), ("gemma2b", GEMMA), ("gemma2-2b", GEMMA2),
     ("gemma2-9b", GEMMA2_9B), ("gemma3-1b", GEMMA3)],
)  # fmt: skip
def test_keys_that_published_models_have_are_understood(tmp_path, option, found):
    (tmp_path / "config.json").write_text(json.dumps(found))
    check_model(tmp_path, configs.validate(composed(f"model={option}")).model)
