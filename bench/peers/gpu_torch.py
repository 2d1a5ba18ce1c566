"""A workload of the GPU (bench/sizes.py) by transformers on PyTorch: SDPA, compiled.

VENV/bin/python bench/peers/gpu_torch.py G1 [--weights bfloat16] [--checkpointing] [--eager]

Weights are float32 under autocast to bfloat16, or bfloat16 throughout. G2 and T2 are PEFT's LoRA over a base
in bfloat16. Generation has a static cache, compiled.
"""

import argparse
import contextlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import sizes
from stopwatch import Stopwatch


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("workload", choices=sizes.SHAPES)
    words.add_argument("--weights", default="float32", choices=("float32", "bfloat16"))
    words.add_argument("--checkpointing", action="store_true", help="a block's inside is computed twice")
    words.add_argument("--eager", action="store_true", help="not compiled")
    words.add_argument("--timed", type=int)
    chosen = words.parse_args()
    shape = sizes.SHAPES[chosen.workload]
    kind, number = chosen.workload
    watch = Stopwatch(warm=1 if number == "3" else 2, timed=chosen.timed or (3 if number == "3" else 6))

    import numpy as np
    import torch
    from transformers import GemmaConfig, GemmaForCausalLM

    device = "cuda" if kind == "G" else "cpu"
    torch.manual_seed(0)
    frozen = number != "1"
    dtype = torch.bfloat16 if frozen or chosen.weights == "bfloat16" else torch.float32
    config = GemmaConfig(**sizes.GEMMA[kind], max_position_embeddings=8192, attn_implementation="sdpa")
    with torch.device(device):
        model = GemmaForCausalLM(config).to(dtype)
    watch.phase("built")
    rng = np.random.default_rng(sizes.SEED)

    def batch() -> "torch.Tensor":
        size = (shape["batch"], shape["tokens"])
        return torch.from_numpy(rng.integers(0, config.vocab_size, size)).to(device)

    if number == "3":
        model.eval()
        model.generation_config.eos_token_id = None
        tokens_BT = batch()
        more = {} if chosen.eager else {"cache_implementation": "static"}
        if not chosen.eager:
            model.forward = torch.compile(model.forward)
        with torch.inference_mode():
            while not watch.is_done:
                model.generate(
                    tokens_BT,
                    attention_mask=torch.ones_like(tokens_BT),
                    max_new_tokens=shape["new"],
                    min_new_tokens=shape["new"],
                    do_sample=False,
                    pad_token_id=0,
                    **more,
                )
                if device == "cuda":
                    torch.cuda.synchronize()
                watch.lap()
    else:
        if number == "2":
            import peft

            targets = ["q_proj", "k_proj", "v_proj", "o_proj"]
            model = peft.get_peft_model(
                model,
                peft.LoraConfig(
                    r=sizes.RANK, lora_alpha=sizes.ALPHA, target_modules=targets, lora_dropout=0.0
                ),
            )
        if chosen.checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        model.train()
        trained = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(
            trained, lr=sizes.LEARNING_RATE, weight_decay=sizes.WEIGHT_DECAY, fused=True
        )
        call = model if chosen.eager else torch.compile(model)
        is_mixed = any(p.dtype == torch.float32 for p in trained)
        for _ in range(watch.laps_wanted):
            tokens_BT = batch()
            with torch.autocast(device, torch.bfloat16) if is_mixed else contextlib.nullcontext():
                loss = call(input_ids=tokens_BT, labels=tokens_BT, use_cache=False).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            watch.lap(loss.item())

    name = ["torch", "eager" if chosen.eager else "compile", chosen.weights]
    watch.report(
        peer="_".join([*name, *(["checkpointing"] if chosen.checkpointing else [])]),
        workload=chosen.workload,
        units_a_lap=shape["batch"] * (shape["new"] or shape["tokens"]),
        packages=("torch", "transformers", "peft"),
        n_params=sum(p.numel() for p in model.parameters()),
        n_trainable=sum(p.numel() for p in model.parameters() if p.requires_grad),
        device_peak_mb=round(torch.cuda.max_memory_allocated() / 2**20) if device == "cuda" else None,
    )


main()
