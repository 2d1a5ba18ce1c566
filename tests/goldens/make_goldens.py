"""Writes a folder for each family: a small random checkpoint, and what transformers computes from it; and for
those in ADAPTERS, in its folder lora/, an adapter beside the checkpoint, and what PEFT computes from both.

    python -m venv VENV && VENV/bin/pip install torch==2.13.0 transformers==5.23.0 peft==0.21.2
    VENV/bin/python tests/goldens/make_goldens.py [FAMILY ...]

PyTorch is no dependency of the project; this script alone needs it. The same versions write the same numbers.
Everything is float32 with eager attention, from the checkpoint as it was read back from disk.
"""

import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import peft
import torch
import transformers
from torch.nn.functional import log_softmax

LENGTHS = ((16, 6), (11, 5), (7, 3))  # of a row, and of its prompt
NEW_TOKENS = 12
STEPS = 5
ADAMW = {"lr": 1e-3, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.01}
CLIP_NORM = 1.0
# Heads times head size is not the width, two query heads share a key head.
GEMMA_SIZES = {
    "vocab_size": 128,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 32,
    "bos_token_id": 2,
    "eos_token_id": 1,
    "pad_token_id": 0,
}
# The width of a head is that of the model over their number, unless it is given.
LLAMA_SIZES = {
    "vocab_size": 128,
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "bos_token_id": 2,
    "eos_token_id": 1,
    "pad_token_id": 0,
}
ROPE = {"rope_type": "default", "rope_theta": 10_000.0}
# In GPT-2 beside all projections of attention, one of them fused; in Gemma mostly the MLP's, with rsLoRA; in
# Qwen2 beside products that have biases, and an output table that is not tied; in RecurrentGemma in blocks of
# both kinds.
ADAPTERS = {
    "gpt2": {
        "r": 4,
        "lora_alpha": 8,
        "target_modules": ["attn.c_attn", "attn.c_proj"],
        "fan_in_fan_out": True,
    },
    "gemma": {
        "r": 3,
        "lora_alpha": 5,
        "target_modules": ["gate_proj", "up_proj", "down_proj", "q_proj"],
        "use_rslora": True,
    },
    "llama": {"r": 3, "lora_alpha": 6, "target_modules": "all-linear"},
    "qwen2": {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj"]},
    "recurrent_gemma": {
        "r": 3,
        "lora_alpha": 6,
        "target_modules": ["linear_x", "linear_out", "q_proj", "o_proj", "gate_proj"],
    },
}


@dataclass(frozen=True)
class Golden:
    """A checkpoint to make; a block adds `gain` to the stream, lest a tied model repeat its last token."""

    config: transformers.PreTrainedConfig
    seed: int
    gain: float
    end_ids: int | list[int]

    @property
    def folder(self) -> Path:
        return Path(__file__).parent / self.config.model_type.removesuffix("_text")


GOLDENS = {
    "gpt2": Golden(
        transformers.GPT2Config(
            vocab_size=128,
            n_positions=32,
            n_embd=32,
            n_layer=2,
            n_head=4,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            bos_token_id=127,
            eos_token_id=127,
        ),
        seed=22,
        gain=1.8,
        end_ids=127,
    ),
    "gemma": Golden(
        transformers.GemmaConfig(**GEMMA_SIZES, num_hidden_layers=2, rope_parameters=ROPE),
        seed=24,
        gain=2.0,
        end_ids=1,
    ),
    # The caps bite and the query scale is not the head size.
    "gemma2": Golden(
        transformers.Gemma2Config(
            **GEMMA_SIZES,
            num_hidden_layers=2,
            rope_parameters=ROPE,
            sliding_window=5,
            query_pre_attn_scalar=10,
            attn_logit_softcapping=3.0,
            final_logit_softcapping=4.0,
        ),
        seed=52,
        gain=2.0,
        end_ids=1,
    ),
    # Two local layers to a global one, which turns otherwise.
    "gemma3": Golden(
        transformers.Gemma3TextConfig(
            **GEMMA_SIZES,
            num_hidden_layers=4,
            layer_types=[
                "sliding_attention",
                "sliding_attention",
                "full_attention",
                "sliding_attention",
            ],
            rope_parameters={
                "sliding_attention": ROPE,
                "full_attention": ROPE | {"rope_theta": 1_000_000.0},
            },
            sliding_window=5,
            query_pre_attn_scalar=10,
        ),
        seed=37,
        gain=3.0,
        end_ids=[1, 106],
    ),
    # Frequencies that are kept, divided, and in between.
    "llama": Golden(
        transformers.LlamaConfig(
            **LLAMA_SIZES,
            num_hidden_layers=3,
            head_dim=16,
            tie_word_embeddings=True,
            rope_parameters={
                "rope_type": "llama3",
                "rope_theta": 500.0,
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 32,
            },
            rms_norm_eps=1e-5,
        ),
        seed=72,
        gain=2.0,
        end_ids=[1, 106],
    ),
    # An output table of its own, and a window that is switched off.
    "qwen2": Golden(
        transformers.Qwen2Config(
            **LLAMA_SIZES,
            num_hidden_layers=2,
            rope_parameters=ROPE,
            tie_word_embeddings=False,
            use_sliding_window=False,
            sliding_window=5,
            max_window_layers=0,
        ),
        seed=92,
        gain=2.0,
        end_ids=1,
    ),
    "qwen3": Golden(
        transformers.Qwen3Config(
            **LLAMA_SIZES, num_hidden_layers=2, head_dim=16, rope_parameters=ROPE, tie_word_embeddings=True
        ),
        seed=93,
        gain=2.0,
        end_ids=1,
    ),
    # The third layer is not rotated.
    "smollm3": Golden(
        transformers.SmolLM3Config(
            **LLAMA_SIZES, num_hidden_layers=4, rope_parameters=ROPE, no_rope_layer_interval=3
        ),
        seed=79,
        gain=2.0,
        end_ids=1,
    ),
    # The recurrence is wider than the stream, and the last round of blocks is not whole.
    "recurrent_gemma": Golden(
        transformers.RecurrentGemmaConfig(
            vocab_size=128,
            hidden_size=32,
            intermediate_size=80,
            num_hidden_layers=5,
            num_attention_heads=4,
            num_key_value_heads=2,
            lru_width=40,
            attention_window_size=5,
            logits_soft_cap=4.0,
            rope_parameters=ROPE | {"partial_rotary_factor": 0.5},
        ),
        seed=83,
        gain=2.0,
        end_ids=1,
    ),
}


@torch.no_grad()
def write_checkpoint(golden: Golden) -> None:
    """Every parameter is random and none negligible: biases and norms too, logits with a deviation near 1."""
    model = transformers.AutoModelForCausalLM.from_config(golden.config)
    draw = torch.Generator().manual_seed(golden.seed)
    is_gpt2, width = golden.config.model_type == "gpt2", golden.config.hidden_size
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=draw)
        if ".ln_" in name:
            parameter.copy_(0.2 * noise + (1.0 if name.endswith("weight") else 0.0))
        elif "norm" in name and "gemma" not in golden.config.model_type:
            parameter.copy_(0.2 * noise + 1.0)
        elif "norm" in name:  # Gemma multiplies by 1 + weight, in 2 and 3 also what a block adds
            is_branch = "post_" in name and golden.config.model_type != "gemma"
            parameter.copy_(0.2 * noise + (golden.gain - 1.0 if is_branch else 0.0))
        elif name.endswith("recurrent_param"):  # some remember one token, some many
            parameter.copy_(0.8 * noise - 3.0)
        elif name.endswith("bias"):
            parameter.copy_((0.1 if is_gpt2 else 0.5) * noise)
        elif any(table in name for table in ("wte", "wpe", "embed", "lm_head")):
            parameter.copy_(noise / math.sqrt(width))
        else:
            # Conv1D is [inputs, outputs], Linear is not; a convolution has its taps last.
            inputs = parameter.shape[0 if is_gpt2 else 2 if "conv_1d" in name else 1]
            # A gate that is shut leaves 1 - a², in which float32 cancels.
            gain = 0.3 if name.endswith("gate_weight") else golden.gain
            parameter.copy_(gain * noise / math.sqrt(inputs))
    model.generation_config.eos_token_id = golden.end_ids
    model.save_pretrained(golden.folder)


def read_checkpoint(golden: Golden) -> torch.nn.Module:
    model = transformers.AutoModelForCausalLM.from_pretrained(
        golden.folder, dtype=torch.float32, attn_implementation="eager"
    )
    return model.eval()


def make_batch(golden: Golden) -> dict[str, torch.Tensor]:
    """Right-padded with 0; `response_mask` marks the tokens that are to be predicted."""
    draw = np.random.default_rng(golden.seed)
    shape = (len(LENGTHS), max(length for length, _ in LENGTHS))
    batch = {name: np.zeros(shape, np.int64) for name in ("tokens", "segment_ids", "response_mask")}
    for row, (length, prompt) in enumerate(LENGTHS):
        batch["tokens"][row, :length] = draw.integers(1, 127, length)
        batch["segment_ids"][row, :length] = 1
        batch["response_mask"][row, prompt:length] = 1
    return {name: torch.from_numpy(values) for name, values in batch.items()}


def logits_of(model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    return model(input_ids=batch["tokens"], attention_mask=batch["segment_ids"], use_cache=False).logits


def nll_of(model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Negative log-likelihood (nats) of each response token from the logits before it; 0 elsewhere."""
    predicted = log_softmax(logits_of(model, batch)[:, :-1], dim=-1)
    picked = predicted.gather(-1, batch["tokens"][:, 1:, None])[..., 0]
    return -picked * batch["response_mask"][:, 1:]


def loss_of(model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """The mean over all response tokens of the batch."""
    return nll_of(model, batch).sum() / batch["response_mask"].sum()


def norms_of(tensors: dict[str, torch.Tensor]) -> dict[str, float]:
    return {name: float(tensor.detach().double().norm()) for name, tensor in tensors.items()}


def trained(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def gradient_norms(model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> dict[str, float]:
    loss_of(model, batch).backward()
    norms = norms_of({name: parameter.grad for name, parameter in trained(model).items()})
    model.zero_grad()
    return norms


def five_steps(model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> dict:
    """AdamW with every parameter decayed and the gradient clipped to a global norm, always on this batch."""
    optimizer = torch.optim.AdamW(trained(model).values(), **ADAMW)
    losses, norms = [], []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = loss_of(model, batch)
        loss.backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(trained(model).values(), CLIP_NORM)))
        optimizer.step()
        losses.append(float(loss.detach()))
    return {
        "losses_before_each_step": losses,
        "loss_after_last_step": float(loss_of(model, batch).detach()),
        "gradient_norm_before_clipping": norms,
        "parameter_norms_after_last_step": norms_of(trained(model)),
    }


@torch.no_grad()
def greedy(model: torch.nn.Module, prompt: list[int]) -> tuple[list[int], float]:
    """The arg-max tokens after an unpadded prompt, without a cache; and the closest call between two."""
    tokens, closest = list(prompt), math.inf
    for _ in range(NEW_TOKENS):
        best, second = model(input_ids=torch.tensor([tokens])).logits[0, -1].topk(2)[0].tolist()
        closest = min(closest, best - second)
        tokens.append(int(model(input_ids=torch.tensor([tokens])).logits[0, -1].argmax()))
    return tokens[len(prompt) :], closest


@torch.no_grad()
def logits_of_bfloat16_weights(golden: Golden, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """The same computation in float32, from weights that were stored in bfloat16."""
    model = read_checkpoint(golden)
    for parameter in model.parameters():  # not model.bfloat16(), which rounds the rotation's angles too
        parameter.copy_(parameter.bfloat16())
    return logits_of(model, batch)


def make(golden: Golden) -> None:
    write_checkpoint(golden)
    model, batch = read_checkpoint(golden), make_batch(golden)
    prompts = [batch["tokens"][row, :prompt].tolist() for row, (_, prompt) in enumerate(LENGTHS)]
    answers = [greedy(model, prompt) for prompt in prompts]
    # An arg-max decided by rounding could not be asked for.
    assert min(closest for _, closest in answers) > 5e-3, answers
    assert min(len(set(tokens)) for tokens, _ in answers) > 4, answers
    with torch.no_grad():
        logits, nll, loss = logits_of(model, batch), nll_of(model, batch), loss_of(model, batch)
    is_real = batch["segment_ids"][..., None].bool()
    arrays = {"logits": torch.where(is_real, logits, 0.0).numpy()}
    if golden.config.model_type != "gpt2":
        stored = logits_of_bfloat16_weights(golden, batch)
        arrays["logits_of_bfloat16_weights"] = torch.where(is_real, stored, 0.0).numpy()
    counts = batch["response_mask"].sum(1)
    np.savez_compressed(
        golden.folder / "expected.npz",
        **{name: values.numpy().astype(np.int32) for name, values in batch.items()},
        **arrays,
        nll_per_example=(nll.sum(1) / counts).numpy(),
    )
    expected = {
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "parameters": sum(p.numel() for p in model.parameters()),
        "loss": float(loss),
        "gradient_norms": gradient_norms(read_checkpoint(golden), batch),
        "adamw": ADAMW | {"clip_norm": CLIP_NORM},
        "training": five_steps(read_checkpoint(golden), batch),
        "prompts": prompts,
        "greedy": [tokens for tokens, _ in answers],
        "closest_call": min(closest for _, closest in answers),
    }
    (golden.folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({key: expected[key] for key in ("loss", "greedy", "closest_call")}))
    print(f"standard deviation of the logits: {float(logits[batch['segment_ids'].bool()].std()):.2f}")


def make_adapter(golden: Golden, settings: dict) -> None:
    """An adapter whose A and B are random and not small, as it was read back from disk."""
    folder, batch = golden.folder / "lora", make_batch(golden)
    model = peft.get_peft_model(
        read_checkpoint(golden), peft.LoraConfig(task_type="CAUSAL_LM", lora_dropout=0.0, **settings)
    )
    draw = torch.Generator().manual_seed(golden.seed + 1)
    with torch.no_grad():
        for parameter in trained(model).values():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=draw))
    model.peft_config["default"].base_model_name_or_path = golden.folder.name
    model.save_pretrained(folder, save_embedding_layers=False)
    (folder / "README.md").unlink()
    config = json.loads((folder / "adapter_config.json").read_text())
    config["target_modules"].sort()  # PEFT writes a set, in no fixed order
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    model = peft.PeftModel.from_pretrained(read_checkpoint(golden), folder, is_trainable=True).eval()
    with torch.no_grad():
        logits, loss = logits_of(model, batch), loss_of(model, batch)
        moved = float((logits - logits_of(read_checkpoint(golden), batch)).abs().max())
    assert moved > 0.3, moved
    np.savez_compressed(
        folder / "expected.npz",
        logits=torch.where(batch["segment_ids"][..., None].bool(), logits, 0.0).numpy(),
    )
    expected = {
        "versions": {"peft": peft.__version__},
        "parameters": sum(parameter.numel() for parameter in trained(model).values()),
        "loss": float(loss),
        "gradient_norms": gradient_norms(model, batch),
        "training": five_steps(model, batch),
    }
    (folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n", encoding="utf-8")
    print(f"adapter: loss {expected['loss']:.4f}, it moves logits by {moved:.2f}")


def make_multimodal() -> None:
    """A checkpoint that takes pictures as well, and the logits of its text, with angles divided.

    Its tensors have the names that transformers gives them, and its table has rows that no tokenizer names.
    """
    folder, text = Path(__file__).parent / "gemma3_multimodal", GOLDENS["gemma3"].config.to_dict()
    slow = {"rope_type": "linear", "rope_theta": 1_000_000.0, "factor": 8.0}
    text["rope_parameters"] = {"sliding_attention": ROPE, "full_attention": slow}
    vision = transformers.SiglipVisionConfig(
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=28,
        patch_size=14,
    )
    config = transformers.Gemma3Config(
        text_config=transformers.Gemma3TextConfig(**text | {"vocab_size": 136}),
        vision_config=vision,
        mm_tokens_per_image=4,
        image_token_index=130,
        boi_token_index=131,
        eoi_token_index=132,
    )
    model = transformers.Gemma3ForConditionalGeneration(config)
    draw = torch.Generator().manual_seed(61)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=draw)
            is_norm = "norm" in name
            inputs = parameter.shape[-1] if parameter.ndim > 1 else 1
            parameter.copy_(
                (2.0 * is_norm if "post_" in name else 0.0)
                + noise * (0.2 if is_norm else 2 / math.sqrt(inputs))
            )
    model.save_pretrained(folder)
    model = transformers.Gemma3ForConditionalGeneration.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    tokens = torch.from_numpy(np.random.default_rng(61).integers(1, 127, (2, 24)))
    with torch.no_grad():
        logits = model(input_ids=tokens, attention_mask=torch.ones_like(tokens), use_cache=False).logits
    np.savez_compressed(
        folder / "expected.npz", tokens=tokens.numpy().astype(np.int32), logits=logits.numpy()
    )
    print(f"multimodal: standard deviation of the logits: {float(logits.std()):.2f}")


def main() -> None:
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    for family in sys.argv[1:] or [*GOLDENS, "gemma3_multimodal"]:
        if family == "gemma3_multimodal":
            make_multimodal()
            continue
        make(GOLDENS[family])
        if family in ADAPTERS:
            make_adapter(GOLDENS[family], ADAPTERS[family])


if __name__ == "__main__":
    main()
