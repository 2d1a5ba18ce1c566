"""The checkpoints of tests/goldens as configs, by their families, and the adapters that lie beside some."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from tests.models.families.gemma.toys import gemma_config
from tests.models.families.llama.toys import llama_config
from tests.models.families.recurrent_gemma.toys import recurrent_config
from tests.models.lora_toys import lora_config
from tests.models.toys import toy_config
from tunix_exp.models.adapter import LoRAConfig
from tunix_exp.models.config import ModelConfig

GOLDENS = Path(__file__).parents[2] / "goldens"
_GPT2 = {
    "vocab_size": 128,
    "num_positions": 32,
    "width": 32,
    "mlp_width": 128,
    "num_layers": 2,
    "num_heads": 4,
}
_GROUPED = {"vocab_size": 128, "mlp_width": 40, "num_heads": 4, "num_key_heads": 2}
_GROUPED |= {"layer_loop": "scan", "remat": "block"}
_GEMMA = _GROUPED | {"num_positions": 32, "width": 24, "head_width": 16}
_LLAMA = _GROUPED | {"num_positions": 64, "width": 32, "head_width": 8}
CONFIGS: dict[str, ModelConfig] = {
    "gpt2": toy_config(**_GPT2),
    "gemma": gemma_config("gemma", **_GEMMA, num_layers=2, query_pre_attn_scalar=16.0),
    "gemma2": gemma_config("gemma2", **_GEMMA, num_layers=2, query_pre_attn_scalar=10.0, window=5),
    "gemma3": gemma_config("gemma3", **_GEMMA, num_layers=4, query_pre_attn_scalar=10.0, window=5),
    "llama": llama_config("llama", **_LLAMA | {"head_width": 16}, num_layers=3, norm_epsilon=1e-5),
    "qwen2": llama_config("qwen2", **_LLAMA, num_layers=2),
    "qwen3": llama_config("qwen3", **_LLAMA | {"head_width": 16}, num_layers=2),
    "smollm3": llama_config("smollm3", **_LLAMA, num_layers=4),
    "recurrent_gemma": recurrent_config(
        **_LLAMA, num_layers=5, recurrence_width=40, window=5, logit_soft_cap=4.0
    ),
}
_ADAPTERS = {
    "gpt2": {"rank": 4, "alpha": 8.0},
    "gemma": {"rank": 3, "alpha": 5.0, "scaling": "rslora", "targets": ("mlp", "q_proj")},
    "llama": {"rank": 3, "alpha": 6.0, "targets": ("all",)},
    "qwen2": {"rank": 4, "alpha": 8.0},
    "recurrent_gemma": {
        "rank": 3,
        "alpha": 6.0,
        "targets": ("linear_x", "linear_out", "q_proj", "o_proj", "gate_proj"),
    },
}
ADAPTERS: dict[str, LoRAConfig] = {
    family: lora_config(**changes, weights=str(GOLDENS / family / "lora"))
    for family, changes in _ADAPTERS.items()
}


def golden_config(family: str, **changes) -> ModelConfig:
    """The checkpoint's, or with changes."""
    return CONFIGS[family].model_copy(update=changes)


@cache
def expected(family: str) -> dict[str, Any]:
    """What transformers computed of the checkpoint."""
    folder = GOLDENS / family
    return json.loads((folder / "expected.json").read_text()) | dict(np.load(folder / "expected.npz"))
