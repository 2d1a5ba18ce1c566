"""Writes gpt2/curve.json: what fifty AdamW steps of PyTorch make of the checkpoint in gpt2/.

    VENV/bin/python tests/goldens/make_curve.py      # the environment of make_goldens.py

Ten batches of drawn tokens, five times over, every token counts, so that the losses fall by far more than the
tolerance of the test. They are written at full precision, from float32.
"""

import json
from pathlib import Path

import numpy as np
import torch
import transformers

FOLDER = Path(__file__).parent / "gpt2"
STEPS, BATCHES, ROWS, LENGTH, SEED = 50, 10, 4, 16, 7
ADAMW = {"lr": 1e-3, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.1}


def main() -> None:
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    model = transformers.GPT2LMHeadModel.from_pretrained(FOLDER, attn_implementation="eager").eval()
    rng = np.random.default_rng(SEED)
    batches_NBT = rng.integers(0, model.config.vocab_size, (BATCHES, ROWS, LENGTH))
    optimizer = torch.optim.AdamW(model.parameters(), **ADAMW)
    losses = []
    for step in range(STEPS):
        tokens_BT = torch.from_numpy(batches_NBT[step % BATCHES])
        loss = model(input_ids=tokens_BT, labels=tokens_BT).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    curve = {
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "adamw": ADAMW,
        "batches": {"seed": SEED, "count": BATCHES, "rows": ROWS, "length": LENGTH},
        "losses": losses,
    }
    (FOLDER / "curve.json").write_text(json.dumps(curve, indent=1) + "\n", encoding="utf-8")
    print(f"loss {losses[0]:.4f} → {losses[-1]:.4f}")


if __name__ == "__main__":
    main()
