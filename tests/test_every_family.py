"""A run of every architecture's tiny option, from the command line to verified evidence."""

from pathlib import Path

import pytest

from tests.composing import composed, options
from tests.running import TOY, bits, read_json, read_jsonl, run
from tunix_exp import cli
from tunix_exp.evidence.verify import verify
from tunix_exp.models.families.registry import weight_maps

TINY = [option for option in options("model") if option.startswith("tiny-")]
WORDS = (
    *(word for word in TOY if not word.startswith("model")), "optim.peak_lr=0.01", "model.init_std=0.2",
    "data.template.prompt='{question}'",  # of the items none is longer than 16 tokens: one program answers
)  # fmt: skip
# The runs of most other tests are GPT-2's, and Gemma 1 and 2 are made of what Gemma 3 is made of.
RUN = [option for option in TINY if option not in ("tiny-gpt2", "tiny-gemma", "tiny-gemma2")]
# As many blocks as it takes for one of each kind to come round twice, and for one that is left over.
FEWER = {
    "tiny-gemma3": ("model.global_every=2", "model.num_layers=4"),
    "tiny-smollm3": ("model.unrotated_every=2", "model.num_layers=4"),
    "tiny-recurrentgemma": ("model.block_types=[recurrent,attention]", "model.num_layers=5"),
}
# In one loop over the layers, as the large options have them; the runs without an adapter unroll theirs.
LORA = (
    "adapter=lora", "adapter.targets=[all]", "adapter.rank=2", "optim.peak_lr=0.1", "model.layer_loop=scan",
)  # fmt: skip


def words_of(option: str) -> tuple[str, ...]:
    return (*WORDS, f"model={option}")


def evaluated(folder: Path, which: str) -> tuple[str, str]:
    """Every answer, and the loss on every held-out item."""
    answers, losses = (folder / kind / f"{which}.jsonl" for kind in ("predictions", "heldout"))
    return answers.read_text(), losses.read_text()


def test_every_architecture_has_a_tiny_option():
    assert {composed(f"model={option}")["model"]["family"] for option in TINY} == weight_maps().keys()


@pytest.mark.slow
@pytest.mark.parametrize("option", RUN)
def test_it_trains_and_verifies_leaves_as_transformers_reads_it_and_replays_to_the_bit(option, tmp_path):
    words = words_of(option)
    assert run(tmp_path / "run", *words, "training.export=[hf]") == 0
    assert verify(tmp_path / "run") == []
    losses = [row["loss"] for row in read_jsonl(tmp_path / "run" / "metrics.jsonl")]
    assert losses[-1] < losses[0]
    assert cli.main(["replay", str(tmp_path / "run"), "--to", str(tmp_path / "again")]) == 0
    assert bits(tmp_path / "again") == bits(tmp_path / "run")
    hf = tmp_path / "run" / "export" / "hf"
    here = (f"model.weights={hf}", f"model.tokenizer={hf}", "mode=eval")
    assert run(tmp_path / "out", *words, *here) == 0
    assert evaluated(tmp_path / "out", "base") == evaluated(tmp_path / "run", "trained")


@pytest.mark.slow
@pytest.mark.parametrize("option", RUN)
def test_beside_it_an_adapter_trains_and_leaves_as_peft_reads_it(option, tmp_path):
    words = (*words_of(option), *FEWER.get(option, ()), *LORA)
    assert run(tmp_path / "run", *words, "training.export=[peft]") == 0
    assert verify(tmp_path / "run") == []
    manifest = read_json(tmp_path / "run" / "run_manifest.json")
    assert manifest["adapter"]["frozen_weight_hash_after"] == manifest["model"]["base_weight_hash"]
    here = (f"adapter.weights={tmp_path / 'run' / 'export' / 'peft'}", "mode=eval")
    assert run(tmp_path / "out", *words, *here) == 0
    assert evaluated(tmp_path / "out", "base") == evaluated(tmp_path / "run", "trained")
    assert evaluated(tmp_path / "out", "base")[1] != evaluated(tmp_path / "run", "base")[1]
