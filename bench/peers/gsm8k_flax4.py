"""W6 by the last Flax classes of transformers: one jitted step on rows padded to 512 tokens.

VENV/bin/python bench/peers/gsm8k_flax4.py --gsm8k FILE --tokenizer FOLDER

The loss is the response's, the state is donated. Few steps are timed, as all are alike.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import gsm8k
from stopwatch import Stopwatch


def main() -> None:
    chosen = gsm8k.arguments(__doc__, timed=4).parse_args()
    watch = Stopwatch(warm=gsm8k.WARM, timed=chosen.timed)

    import jax
    import jax.numpy as jnp
    import numpy as np
    import optax
    from transformers import AutoTokenizer, FlaxGPT2LMHeadModel, GPT2Config

    watch.phase("imported")
    tokenizer = AutoTokenizer.from_pretrained(chosen.tokenizer)
    tokenizer.pad_token = tokenizer.eos_token
    no_dropout = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    model = FlaxGPT2LMHeadModel(GPT2Config(n_layer=6, **no_dropout), seed=0)
    watch.phase("built")
    pairs = gsm8k.pairs(chosen.gsm8k)

    def batch_of(lap: int) -> dict[str, np.ndarray]:
        some = pairs[lap * gsm8k.BATCH : (lap + 1) * gsm8k.BATCH]
        batch = tokenizer(
            [pair.prompt + pair.completion + tokenizer.eos_token for pair in some],
            padding="max_length",
            truncation=True,
            max_length=gsm8k.MAX_TOKENS,
            return_tensors="np",
        )
        prompts = [len(tokenizer(pair.prompt)["input_ids"]) for pair in some]
        is_response = np.arange(gsm8k.MAX_TOKENS)[None] >= np.array(prompts)[:, None]
        return {
            "input_ids": batch["input_ids"].astype(np.int32),
            "attention_mask": batch["attention_mask"].astype(np.int32),
            "learned": (is_response & (batch["attention_mask"] > 0)).astype(np.float32),
        }

    optimizer = optax.adamw(1e-4, weight_decay=0.01)

    def loss_of(params, batch):
        logits = model(batch["input_ids"], batch["attention_mask"], params=params, train=True).logits
        nll = optax.softmax_cross_entropy_with_integer_labels(logits[:, :-1], batch["input_ids"][:, 1:])
        return jnp.sum(nll * batch["learned"][:, 1:]) / jnp.sum(batch["learned"][:, 1:])

    def step(params, state, batch):
        loss, gradient = jax.value_and_grad(loss_of)(params, batch)
        update, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, update), state, loss

    params, model._params = model.params, None
    n_params = sum(leaf.size for leaf in jax.tree.leaves(params))
    state, compiled, timed = optimizer.init(params), jax.jit(step, donate_argnums=(0, 1)), []
    for lap in range(watch.laps_wanted):
        batch = batch_of(lap)
        if lap > gsm8k.WARM:
            tokens = int(batch["attention_mask"].sum())
            timed.append(gsm8k.Tally(gsm8k.BATCH, tokens, batch["input_ids"].size))
        params, state, loss = compiled(params, state, batch)
        watch.lap(float(loss))
    lengths = [len(ids) for ids in tokenizer([p + c for p, c in pairs])["input_ids"]]
    steps = -(-len(pairs) // gsm8k.BATCH)
    epoch = gsm8k.Tally(len(pairs), sum(lengths) + len(pairs), steps * gsm8k.BATCH * gsm8k.MAX_TOKENS)

    watch.report(
        peer="flax4_padded",
        workload="W6",
        units_a_lap=0,
        packages=("transformers", "jax", "jaxlib", "flax", "optax"),
        n_params=n_params,
        **gsm8k.rates(timed, sum(watch.kept), epoch),
    )


main()
