"""Writes gpt2/: a small random GPT-2 checkpoint, and what transformers computes from it on the CPU.

    python -m venv VENV && VENV/bin/pip install torch==2.13.0 transformers==5.23.0 safetensors numpy
    VENV/bin/python tests/goldens/make_goldens.py

PyTorch is no dependency of the project; this script alone needs it. The same versions write the same numbers.
Everything is float32 with eager attention, from the checkpoint as it was read back from disk.
"""

import json
import math
from pathlib import Path

import numpy as np
import torch
import transformers
from torch.nn.functional import log_softmax

FOLDER = Path(__file__).parent / "gpt2"
SEED = 22
LENGTHS = ((16, 6), (11, 5), (7, 3))  # of a row, and of its prompt
NEW_TOKENS = 12
STEPS = 5
ADAMW = {"lr": 1e-3, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.01}
CLIP_NORM = 1.0
CONFIG = transformers.GPT2Config(
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
)


@torch.no_grad()
def write_checkpoint() -> None:
    """Every parameter is random and none negligible: biases and norms too, logits with a deviation near 1."""
    model = transformers.GPT2LMHeadModel(CONFIG)
    draw = torch.Generator().manual_seed(SEED)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=draw)
        if ".ln_" in name:
            parameter.copy_(0.2 * noise + (1.0 if name.endswith("weight") else 0.0))
        elif name.endswith("bias"):
            parameter.copy_(0.1 * noise)
        elif "wte" in name or "wpe" in name:
            parameter.copy_(noise / math.sqrt(CONFIG.n_embd))
        else:
            parameter.copy_(1.8 * noise / math.sqrt(parameter.shape[0]))
    model.save_pretrained(FOLDER)


def read_checkpoint() -> transformers.GPT2LMHeadModel:
    model = transformers.GPT2LMHeadModel.from_pretrained(
        FOLDER, dtype=torch.float32, attn_implementation="eager"
    )
    return model.eval()


def make_batch() -> dict[str, torch.Tensor]:
    """Right-padded with 0; `response_mask` marks the tokens that are to be predicted."""
    draw = np.random.default_rng(SEED)
    shape = (len(LENGTHS), max(length for length, _ in LENGTHS))
    batch = {name: np.zeros(shape, np.int64) for name in ("tokens", "segment_ids", "response_mask")}
    for row, (length, prompt) in enumerate(LENGTHS):
        batch["tokens"][row, :length] = draw.integers(1, CONFIG.eos_token_id, length)
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


def gradient_norms(batch: dict[str, torch.Tensor]) -> dict[str, float]:
    model = read_checkpoint()
    loss_of(model, batch).backward()
    return norms_of({name: p.grad for name, p in model.named_parameters()})


def five_steps(batch: dict[str, torch.Tensor]) -> dict:
    """AdamW with every parameter decayed and the gradient clipped to a global norm, always on this batch."""
    model = read_checkpoint()
    optimizer = torch.optim.AdamW(model.parameters(), **ADAMW)
    losses, norms = [], []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = loss_of(model, batch)
        loss.backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)))
        optimizer.step()
        losses.append(float(loss.detach()))
    return {
        "losses_before_each_step": losses,
        "loss_after_last_step": float(loss_of(model, batch).detach()),
        "gradient_norm_before_clipping": norms,
        "parameter_norms_after_last_step": norms_of(dict(model.named_parameters())),
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


def main() -> None:
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    write_checkpoint()
    model, batch = read_checkpoint(), make_batch()
    prompts = [batch["tokens"][row, :prompt].tolist() for row, (_, prompt) in enumerate(LENGTHS)]
    answers = [greedy(model, prompt) for prompt in prompts]
    # An arg-max decided by rounding could not be asked for.
    assert min(closest for _, closest in answers) > 5e-3, answers
    assert min(len(set(tokens)) for tokens, _ in answers) > 4, answers
    with torch.no_grad():
        logits, nll, loss = logits_of(model, batch), nll_of(model, batch), loss_of(model, batch)
    logits = torch.where(batch["segment_ids"][..., None].bool(), logits, 0.0)
    counts = batch["response_mask"].sum(1)
    np.savez_compressed(
        FOLDER / "expected.npz",
        **{name: values.numpy().astype(np.int32) for name, values in batch.items()},
        logits=logits.numpy(),
        nll_per_example=(nll.sum(1) / counts).numpy(),
    )
    expected = {
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "parameters": sum(p.numel() for p in model.parameters()),
        "loss": float(loss),
        "gradient_norms": gradient_norms(batch),
        "adamw": ADAMW | {"clip_norm": CLIP_NORM},
        "training": five_steps(batch),
        "prompts": prompts,
        "greedy": [tokens for tokens, _ in answers],
        "closest_call": min(closest for _, closest in answers),
    }
    (FOLDER / "expected.json").write_text(json.dumps(expected, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({key: expected[key] for key in ("loss", "greedy", "closest_call")}))
    print(f"standard deviation of the logits: {float(logits[batch['segment_ids'].bool()].std()):.2f}")


if __name__ == "__main__":
    main()
