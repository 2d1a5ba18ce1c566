"""Asks transformers and PEFT what they compute from exported folders; prints one JSON line, or fails.

    python -m tunix_exp … model.weights=tests/goldens/gpt2 adapter.weights=tests/goldens/gpt2/lora mode=eval
        training.export=[hf,peft] hydra.run.dir=RUN
    VENV/bin/python tests/goldens/check_export.py RUN tests/goldens/gpt2

VENV is that of make_goldens.py. The adapter is compared beside its base, the second folder, or the base's
own logits where there is no adapter; `logits` are then those that make_goldens.py kept, if it kept some.
With --answers the exported model also answers every prompt of the run's last predictions, greedily.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import peft
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("run", type=Path)
    words.add_argument(
        "base", type=Path, nargs="?", help="folder of the model that the adapter stands beside"
    )
    words.add_argument("--answers", action="store_true")
    chosen = words.parse_args()
    torch.set_num_threads(2)
    export = chosen.run / "export"
    merged = read(export / "hf")
    tokens = torch.from_numpy(np.random.default_rng(0).integers(1, merged.config.vocab_size, (4, 32)))
    found = {"logits_std": float(logits_of(merged, tokens).std())}
    if (export / "peft").exists():
        adapted = peft.PeftModel.from_pretrained(read(chosen.base), export / "peft").eval()
        found["merged_against_adapter"] = difference(logits_of(merged, tokens), logits_of(adapted, tokens))
        kept = chosen.base / "lora" / "expected.npz"
        if kept.exists():
            batch, logits = np.load(chosen.base / "expected.npz"), np.load(kept)["logits"]
            mask = torch.from_numpy(batch["segment_ids"]).long()
            for name, model in (("merged", merged), ("adapter", adapted)):
                now = logits_of(model, torch.from_numpy(batch["tokens"]).long(), mask)
                is_real = mask.bool()
                found[f"{name}_against_golden"] = difference(now[is_real], torch.from_numpy(logits)[is_real])
    if chosen.answers:
        found |= answered(chosen.run, merged, AutoTokenizer.from_pretrained(export / "hf"))
    print(json.dumps(found))
    assert all(value < 1e-4 for key, value in found.items() if "against" in key), found
    assert "answers" not in found or found["equal_answers"] == found["answers"], found


def read(folder: Path) -> torch.nn.Module:
    return AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    ).eval()


@torch.no_grad()
def logits_of(model: torch.nn.Module, tokens: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    return model(input_ids=tokens, attention_mask=mask, use_cache=False).logits


def difference(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).abs().max())


def answered(run: Path, model: torch.nn.Module, tokenizer) -> dict[str, int]:
    """How many answers of the last predictions transformers gives too, from the same prompts."""
    predictions = run / "predictions"
    file = predictions / ("trained.jsonl" if (predictions / "trained.jsonl").exists() else "base.jsonl")
    items = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    limit = json.loads((run / "config.json").read_text())["eval"]["max_new_tokens"]
    equal = 0
    for item in items:
        prompt = tokenizer(item["prompt"], add_special_tokens=False, return_tensors="pt")
        ids = model.generate(**prompt, max_new_tokens=limit, do_sample=False)[
            0, prompt["input_ids"].shape[1] :
        ]
        ends = model.generation_config.eos_token_id
        ends = ends if isinstance(ends, list) else [ends]
        kept = [int(token) for token in ids if int(token) not in ends]
        equal += tokenizer.decode(kept) == item["output"]
    return {"answers": len(items), "equal_answers": equal}


if __name__ == "__main__":
    main()
