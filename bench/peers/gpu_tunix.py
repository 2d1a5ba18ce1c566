"""A training workload of the GPU (bench/sizes.py) by Tunix: PeftTrainer on its own Gemma, in bfloat16.

VENV/bin/python bench/peers/gpu_tunix.py G1 [--remat]

G2 and T2 put qwix's LoRA on the attention's projections.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import sizes
from stopwatch import Stopwatch


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("workload", choices=[name for name in sizes.SHAPES if name[1] != "3"])
    words.add_argument("--remat", action="store_true", help="a decoder layer's inside is computed twice")
    words.add_argument("--timed", type=int)
    chosen = words.parse_args()
    shape, (kind, number) = sizes.SHAPES[chosen.workload], chosen.workload
    watch = Stopwatch(warm=2, timed=chosen.timed or 6)

    import jax
    import jax.numpy as jnp
    import numpy as np
    import optax
    from flax import nnx
    from tunix.models.gemma import model as gemma
    from tunix.sft import peft_trainer, utils

    watch.phase("imported")
    size = sizes.GEMMA[kind]
    config = gemma.ModelConfig(
        num_layers=size["num_hidden_layers"],
        num_embed=size["vocab_size"],
        embed_dim=size["hidden_size"],
        hidden_dim=size["intermediate_size"],
        num_heads=size["num_attention_heads"],
        head_dim=size["head_dim"],
        num_kv_heads=size["num_key_value_heads"],
        final_logit_softcap=None,
        use_post_attn_norm=False,
        use_post_ffw_norm=False,
        attention_types=(gemma.AttentionType.GLOBAL,) * size["num_hidden_layers"],
        remat_config=gemma.RematConfig.DECODER if chosen.remat else gemma.RematConfig.NONE,
    )

    class Trainer(peft_trainer.PeftTrainer):
        def _post_process_train_step(self, aux) -> None:
            watch.lap(float(aux))

    def loss_twice(model, input_tokens, input_mask, positions, attention_mask):
        loss = peft_trainer._default_loss_fn(model, input_tokens, input_mask, positions, attention_mask)
        return loss, loss

    def with_positions(batch):
        real_BT = batch.input_tokens >= 0
        return {
            "input_tokens": batch.input_tokens,
            "input_mask": batch.input_mask,
            "positions": utils.build_positions_from_mask(real_BT),
            "attention_mask": utils.make_causal_attn_mask(real_BT),
        }

    def batches():
        rng = np.random.default_rng(sizes.SEED)
        for _ in range(watch.laps_wanted):
            tokens_BT = rng.integers(0, size["vocab_size"], (shape["batch"], shape["tokens"]))
            yield peft_trainer.TrainingInput(
                input_tokens=tokens_BT.astype(np.int32), input_mask=np.ones(tokens_BT.shape, np.int32)
            )

    mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]).reshape(1, 1), ("fsdp", "tp"))
    with mesh:
        model = gemma.Gemma(config, rngs=nnx.Rngs(0))
        nnx.update(model, jax.tree.map(lambda x: x.astype(jnp.bfloat16), nnx.state(model, nnx.Param)))
        if number == "2":
            import qwix

            provider = qwix.LoraProvider(
                module_path=".*q_einsum|.*kv_einsum|.*attn_vec_einsum", rank=sizes.RANK, alpha=sizes.ALPHA
            )
            model = qwix.apply_lora_to_model(model, provider, rngs=nnx.Rngs(1), **model.get_model_input())
        watch.phase("built")
        trained = nnx.LoRAParam if number == "2" else nnx.Param
        count = {k: sum(x.size for x in jax.tree.leaves(nnx.state(model, k))) for k in (nnx.Param, trained)}
        budget = peft_trainer.TrainingConfig(eval_every_n_steps=10**9, max_steps=watch.laps_wanted)
        rule = optax.adamw(sizes.LEARNING_RATE, weight_decay=sizes.WEIGHT_DECAY)
        trainer = Trainer(model, rule, budget).with_loss_fn(loss_twice, has_aux=True)
        trainer.with_gen_model_input_fn(with_positions).train(list(batches()))

    figures = jax.devices()[0].memory_stats()
    watch.report(
        peer="tunix_remat" if chosen.remat else "tunix",
        workload=chosen.workload,
        units_a_lap=shape["batch"] * shape["tokens"],
        packages=("google-tunix", "qwix", "jax", "jaxlib", "flax", "optax"),
        n_params=count[nnx.Param],
        n_trainable=count[trained],
        device_peak_mb=None if figures is None else round(figures["peak_bytes_in_use"] / 2**20),
    )


main()
