"""W6 by TRL: SFTTrainer on prompts and completions, its own collator, whose loss is the completion's.

VENV/bin/python bench/peers/gsm8k_trl.py --gsm8k FILE --tokenizer FOLDER [--packing]

Batches are padded to their longest row, or with `--packing` hold rows of 512 tokens, packed as TRL does.
Gradient checkpointing is off and nothing is clipped, as with everybody else.
"""

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import gsm8k
from stopwatch import Stopwatch


def main() -> None:
    words = gsm8k.arguments(__doc__, timed=12)
    words.add_argument("--packing", action="store_true")
    words.add_argument("--loss", default="nll", help="TRL's loss_type")
    chosen = words.parse_args()
    watch = Stopwatch(warm=gsm8k.WARM, timed=chosen.timed)

    import torch
    from datasets import Dataset
    from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    watch.phase("imported")
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(chosen.tokenizer)
    tokenizer.pad_token = tokenizer.eos_token
    no_dropout = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    model = GPT2LMHeadModel(GPT2Config(n_layer=6, **no_dropout))
    watch.phase("built")
    pairs = [pair._asdict() for pair in gsm8k.pairs(chosen.gsm8k)]

    class Lap(TrainerCallback):
        def on_step_end(self, *_, **__) -> None:
            watch.lap()

    with tempfile.TemporaryDirectory() as folder:
        trainer = SFTTrainer(
            model=model,
            args=SFTConfig(
                output_dir=folder,
                max_steps=watch.laps_wanted,
                per_device_train_batch_size=gsm8k.BATCH,
                max_length=gsm8k.MAX_TOKENS,
                packing=chosen.packing,
                loss_type=chosen.loss,
                learning_rate=1e-4,
                weight_decay=0.01,
                lr_scheduler_type="constant",
                max_grad_norm=0.0,
                gradient_checkpointing=False,
                bf16=False,
                use_cpu=True,
                dataloader_pin_memory=False,
                report_to="none",
                save_strategy="no",
                logging_strategy="no",
                disable_tqdm=True,
            ),
            train_dataset=Dataset.from_list(pairs),
            processing_class=tokenizer,
            callbacks=[Lap()],
        )
        watch.phase("trainer")
        tallies: list[gsm8k.Tally] = []
        collate = trainer.data_collator

        def counted(rows):
            batch = collate(rows)
            # A packed row says how long its examples are; another is one example.
            lengths = [n for row in rows for n in row.get("seq_lengths", [len(row["input_ids"])])]
            tallies.append(gsm8k.Tally(len(lengths), sum(lengths), batch["input_ids"].numel()))
            return batch

        trainer.data_collator = counted
        trainer.train()
        # The loader is a batch ahead of the trainer.
        timed = tallies[1 + gsm8k.WARM : watch.laps_wanted]
        tallies.clear()
        whole = trainer.train_dataset.shuffle(seed=gsm8k.SEED)
        for first in range(0, len(whole), gsm8k.BATCH):
            counted([whole[i] for i in range(first, min(first + gsm8k.BATCH, len(whole)))])

    watch.report(
        peer="trl_packed" if chosen.packing else "trl_padded",
        workload="W6",
        units_a_lap=0,
        packages=("torch", "transformers", "trl", "accelerate"),
        n_params=sum(p.numel() for p in model.parameters()),
        loss_type=chosen.loss,
        **gsm8k.rates(timed, sum(watch.kept), gsm8k.together(tallies)),
    )


main()
