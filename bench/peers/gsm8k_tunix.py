"""W6 by Tunix: PeftTrainer on rows padded to 512 tokens, the only way it knows; the loss is the response's.

VENV/bin/python bench/peers/gsm8k_tunix.py --gsm8k FILE --tokenizer FOLDER

Tunix has no GPT-2. Its Llama of six layers has the same products: three of 768 × 2048 for two of 768 × 3072.
Few steps are timed, as all are alike.
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
    import numpy as np
    import optax
    from flax import nnx
    from tokenizers import Tokenizer
    from tunix.models.llama3 import model as llama
    from tunix.sft import peft_trainer, utils

    watch.phase("imported")
    tokenizer = Tokenizer.from_file(str(chosen.tokenizer / "tokenizer.json"))
    end = pad = tokenizer.token_to_id("<|endoftext|>")
    batches, tallies = [], []
    pairs = gsm8k.pairs(chosen.gsm8k)
    for first in range(0, len(pairs), gsm8k.BATCH):
        tokens_BT = np.full((gsm8k.BATCH, gsm8k.MAX_TOKENS), pad, np.int32)
        learned_BT = np.zeros_like(tokens_BT)
        some, tokens = pairs[first : first + gsm8k.BATCH], 0
        for row, pair in enumerate(some):
            prompt = tokenizer.encode(pair.prompt).ids
            whole = [*prompt, *tokenizer.encode(pair.completion).ids, end][: gsm8k.MAX_TOKENS]
            tokens_BT[row, : len(whole)] = whole
            learned_BT[row, len(prompt) : len(whole)] = 1
            tokens += len(whole)
        batches.append(peft_trainer.TrainingInput(input_tokens=tokens_BT, input_mask=learned_BT))
        tallies.append(gsm8k.Tally(len(some), tokens, tokens_BT.size))
    watch.phase("read")

    class Trainer(peft_trainer.PeftTrainer):
        def _post_process_train_step(self, aux) -> None:
            watch.lap(float(aux))

    def loss_twice(model, input_tokens, input_mask, positions, attention_mask):
        loss = peft_trainer._default_loss_fn(model, input_tokens, input_mask, positions, attention_mask)
        return loss, loss

    def with_positions(batch):
        real_BT = batch.input_tokens != pad
        return {
            "input_tokens": batch.input_tokens,
            "input_mask": batch.input_mask,
            "positions": utils.build_positions_from_mask(real_BT),
            "attention_mask": utils.make_causal_attn_mask(real_BT),
        }

    shape = llama.ModelConfig(
        num_layers=6,
        vocab_size=50257,
        embed_dim=768,
        hidden_dim=2048,
        num_heads=12,
        head_dim=64,
        num_kv_heads=12,
        rope_theta=10_000,
        norm_eps=1e-5,
        weight_tying=True,
    )
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]).reshape(1, 1), ("fsdp", "tp"))
    with mesh:
        model = llama.Llama3(shape, rngs=nnx.Rngs(0))
        watch.phase("built")
        budget = peft_trainer.TrainingConfig(eval_every_n_steps=10**9, max_steps=watch.laps_wanted)
        trainer = Trainer(model, optax.adamw(1e-4, weight_decay=0.01), budget)
        trainer.with_loss_fn(loss_twice, has_aux=True).with_gen_model_input_fn(with_positions).train(
            batches[: watch.laps_wanted]
        )
        n_params = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model, nnx.Param)))

    timed = tallies[1 + gsm8k.WARM : watch.laps_wanted]
    watch.report(
        peer="tunix_padded",
        workload="W6",
        units_a_lap=0,
        packages=("google-tunix", "jax", "jaxlib", "flax", "optax"),
        n_params=n_params,
        proxy=True,
        **gsm8k.rates(timed, sum(watch.kept), gsm8k.together(tallies)),
    )


main()
