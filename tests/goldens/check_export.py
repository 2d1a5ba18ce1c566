"""Asks transformers and PEFT what they compute from exported folders; prints one JSON line, or fails.

    python -m tunix_exp model=tiny-gemma mode=eval eval.heldout_every_steps=null training.export=[hf]
        hydra.run.dir=BASE
    python -m tunix_exp model=tiny-gemma adapter=lora training.export=[hf,peft] hydra.run.dir=RUN
    VENV/bin/python tests/goldens/check_export.py RUN BASE/export/hf     # without adapter: RUN alone

VENV is that of make_goldens.py. The exported model must answer every prompt of the run's last predictions as
the run did, and the exported adapter beside its base must compute what the merged model computes. That a
folder leaves as it came, so that the goldens' logits are its own too, tests/models/test_export.py says.
"""

import json
import sys
from pathlib import Path

import numpy as np
import peft
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def main(run: str, base: str | None = None) -> None:
    torch.set_num_threads(2)
    export = Path(run) / "export"
    model = read(export / "hf")
    found = answered(Path(run), model, AutoTokenizer.from_pretrained(export / "hf"))
    assert found["equal_answers"] == found["answers"], found
    if base is not None:
        tokens_BT = torch.from_numpy(np.random.default_rng(0).integers(1, model.config.vocab_size, (4, 32)))
        adapted = peft.PeftModel.from_pretrained(read(Path(base)), export / "peft").eval()
        logits_BTV = logits_of(model, tokens_BT)
        found["logits_std"] = float(logits_BTV.std())
        found["largest_difference"] = float((logits_BTV - logits_of(adapted, tokens_BT)).abs().max())
        assert found["largest_difference"] < 1e-4, found
    print(json.dumps(found))


def read(folder: Path) -> torch.nn.Module:
    return AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    ).eval()


@torch.no_grad()
def logits_of(model: torch.nn.Module, tokens_BT: torch.Tensor) -> torch.Tensor:
    return model(input_ids=tokens_BT, use_cache=False).logits


def answered(run: Path, model: torch.nn.Module, tokenizer) -> dict[str, float]:
    """How many answers of the last predictions transformers gives too, from the same prompts."""
    trained, base = (run / "predictions" / f"{which}.jsonl" for which in ("trained", "base"))
    lines = (trained if trained.exists() else base).read_text(encoding="utf-8").splitlines()
    limit = json.loads((run / "config.json").read_text())["eval"]["max_new_tokens"]
    ends = model.generation_config.eos_token_id
    ends = ends if isinstance(ends, list) else [ends]
    equal = 0
    for item in map(json.loads, lines):
        prompt = tokenizer(item["prompt"], add_special_tokens=False, return_tensors="pt")
        answer = model.generate(**prompt, max_new_tokens=limit, do_sample=False)
        ids = [int(token) for token in answer[0, prompt["input_ids"].shape[1] :] if int(token) not in ends]
        equal += tokenizer.decode(ids) == item["output"]
    return {"answers": len(lines), "equal_answers": equal}


if __name__ == "__main__":
    main(*sys.argv[1:])
