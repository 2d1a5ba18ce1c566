"""Losses of PyTorch over some steps, and the weights that they began from.

VENV/bin/python bench/peers/curve_torch.py FOLDER --batches FILE.npy [--layers 12] [--lora]

FOLDER gets `model/` (and `adapter/`, as PEFT writes it) from before the first step, and `losses.json`. The
batches are tokens, steps × rows × length; every token counts.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
import transformers


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("folder", type=Path)
    words.add_argument("--batches", type=Path, required=True)
    words.add_argument("--layers", type=int, default=12)
    words.add_argument("--lora", action="store_true")
    chosen = words.parse_args()
    torch.manual_seed(0)
    no_dropout = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(n_layer=chosen.layers, **no_dropout))
    model.save_pretrained(chosen.folder / "model")
    packages = {"torch": torch.__version__, "transformers": transformers.__version__}
    if chosen.lora:
        import peft

        model = peft.get_peft_model(
            model,
            peft.LoraConfig(
                r=8,
                lora_alpha=16,
                lora_dropout=0.0,
                task_type="CAUSAL_LM",
                fan_in_fan_out=True,
                target_modules=r".*\.attn\.(c_attn|c_proj)",
            ),
        )
        model.save_pretrained(chosen.folder / "adapter")
        packages["peft"] = peft.__version__
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, weight_decay=0.01)
    losses = []
    for tokens_BT in torch.from_numpy(np.load(chosen.batches)):
        loss = model(input_ids=tokens_BT, labels=tokens_BT, use_cache=False).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
    (chosen.folder / "losses.json").write_text(json.dumps({"losses": losses, "versions": packages}))


main()
