"""What config.json says in the published repositories: every option is the model that it names."""

import json

import pytest

from tests.composing import composed
from tunix_exp.config import validate
from tunix_exp.models import hf_config

_COMMON = {
    "attention_dropout": 0.0,
    "hidden_act": "silu",
    "torch_dtype": "bfloat16",
    "tie_word_embeddings": True,
    "use_cache": True,
}
_LLAMA = _COMMON | {
    "architectures": ["LlamaForCausalLM"],
    "attention_bias": False,
    "mlp_bias": False,
    "model_type": "llama",
    "pretraining_tp": 1,
    "rms_norm_eps": 1e-05,
}
LLAMA_32 = _LLAMA | {
    "bos_token_id": 128000,
    "eos_token_id": 128001,
    "head_dim": 64,
    "hidden_size": 2048,
    "initializer_range": 0.02,
    "intermediate_size": 8192,
    "max_position_embeddings": 131072,
    "num_attention_heads": 32,
    "num_hidden_layers": 16,
    "num_key_value_heads": 8,
    "rope_scaling": {
        "factor": 32.0,
        "high_freq_factor": 4.0,
        "low_freq_factor": 1.0,
        "original_max_position_embeddings": 8192,
        "rope_type": "llama3",
    },
    "rope_theta": 500000.0,
    "transformers_version": "4.45.0.dev0",
    "vocab_size": 128256,
}
_SMOLLM2 = _LLAMA | {
    "bos_token_id": 0,
    "eos_token_id": 0,
    "is_llama_config": True,
    "max_position_embeddings": 8192,
    "rope_interleaved": False,
    "rope_scaling": None,
    "rope_theta": 100000,
    "transformers_version": "4.40.1",
    "vocab_size": 49152,
}
SMOLLM2_135M = _SMOLLM2 | {
    "hidden_size": 576,
    "initializer_range": 0.041666666666666664,
    "intermediate_size": 1536,
    "num_attention_heads": 9,
    "num_hidden_layers": 30,
    "num_key_value_heads": 3,
}
SMOLLM2_1_7B = _SMOLLM2 | {
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_size": 2048,
    "initializer_range": 0.02,
    "intermediate_size": 8192,
    "num_attention_heads": 32,
    "num_hidden_layers": 24,
    "num_key_value_heads": 32,
    "pad_token_id": 2,
    "rope_theta": 130000,
    "transformers.js_config": {"dtype": "q4"},
}
QWEN_25 = _COMMON | {
    "architectures": ["Qwen2ForCausalLM"],
    "bos_token_id": 151643,
    "eos_token_id": 151643,
    "hidden_size": 896,
    "initializer_range": 0.02,
    "intermediate_size": 4864,
    "max_position_embeddings": 32768,
    "max_window_layers": 24,
    "model_type": "qwen2",
    "num_attention_heads": 14,
    "num_hidden_layers": 24,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-06,
    "rope_theta": 1000000.0,
    "sliding_window": 32768,
    "transformers_version": "4.40.1",
    "use_mrope": False,
    "use_sliding_window": False,
    "vocab_size": 151936,
}
QWEN_3 = _COMMON | {
    "architectures": ["Qwen3ForCausalLM"],
    "attention_bias": False,
    "bos_token_id": 151643,
    "eos_token_id": 151645,
    "head_dim": 128,
    "hidden_size": 1024,
    "initializer_range": 0.02,
    "intermediate_size": 3072,
    "max_position_embeddings": 40960,
    "max_window_layers": 28,
    "model_type": "qwen3",
    "num_attention_heads": 16,
    "num_hidden_layers": 28,
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 1000000,
    "sliding_window": None,
    "transformers_version": "4.51.0",
    "use_sliding_window": False,
    "vocab_size": 151936,
}
SMOLLM3 = _COMMON | {
    "architectures": ["SmolLM3ForCausalLM"],
    "attention_bias": False,
    "bos_token_id": None,
    "eos_token_id": 128001,
    "hidden_size": 2048,
    "initializer_range": 0.02,
    "intermediate_size": 11008,
    "max_position_embeddings": 65536,
    "model_type": "smollm3",
    "no_rope_layer_interval": 4,
    "num_attention_heads": 16,
    "num_hidden_layers": 36,
    "num_key_value_heads": 4,
    "pad_token_id": 128004,
    "pretraining_tp": 2,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 5000000.0,
    "sliding_window": None,
    "use_sliding_window": False,
    "vocab_size": 128256,
}
PUBLISHED = {
    "llama32-1b": LLAMA_32,
    "llama32-1b-it": LLAMA_32 | {"eos_token_id": [128001, 128008, 128009]},
    "smollm2-135m": SMOLLM2_135M,
    "smollm2-1.7b": SMOLLM2_1_7B,
    "smollm2-1.7b-it": SMOLLM2_1_7B,
    "qwen25-0.5b": QWEN_25,
    "qwen25-0.5b-it": QWEN_25 | {"eos_token_id": 151645, "max_window_layers": 21},
    "qwen3-0.6b": QWEN_3,
    "smollm3-3b": SMOLLM3,
}


@pytest.mark.parametrize("option", PUBLISHED)
def test_an_option_is_the_model_whose_config_json_was_published(option, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(PUBLISHED[option]))
    model = validate(composed(f"model={option}", "device=cpu")).model
    hf_config.check_model(tmp_path, model)
    assert model.init_std == PUBLISHED[option]["initializer_range"]
    ends = PUBLISHED[option]["eos_token_id"]
    assert hf_config.end_ids(tmp_path, model.vocab_size) == tuple(ends if isinstance(ends, list) else [ends])
