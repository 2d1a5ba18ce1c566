"""`model.weights=RUN`: a run begins with the model that an earlier one trained, and says so."""

import json
import shutil
from pathlib import Path

import pytest

from tests.running import bits, read_json, run_toy
from tunix_exp import cli
from tunix_exp.data.tokenizer import END_OF_TEXT, load_tokenizer
from tunix_exp.evidence.verify import inspect, verify

LORA = ("adapter=lora", "adapter.rank=2", "adapter.targets=[attention]")
TWO = "model.num_layers=2"
SHORT = (TWO, "eval.max_items=1", "training.steps=2")


def error_of(run: Path) -> dict[str, str]:
    return read_json(run / "run_manifest.json")["error"]


@pytest.fixture(scope="module")
def chain(tmp_path_factory) -> Path:
    """Three runs: all parameters, layers stacked; an adapter that is merged and exported; all parameters."""
    folder = tmp_path_factory.mktemp("chain")
    assert run_toy(folder / "1", TWO, "model.layer_loop=scan") == 0
    exports = ("training.export=[hf]", *LORA, *SHORT)
    assert run_toy(folder / "2", f"model.weights={folder / '1'}", *exports) == 0
    assert run_toy(folder / "3", f"model.weights={folder / '2'}", TWO, "training.steps=3") == 0
    return folder


def test_each_run_begins_with_the_weights_that_the_one_before_had_trained(chain):
    first, second, third = (read_json(chain / name / "run_manifest.json") for name in "123")
    assert second["model"]["base_weight_hash"] == first["model"]["trained_weight_hash"]
    assert second["model"]["base_weight_hash"] != first["model"]["base_weight_hash"]
    assert third["model"]["base_weight_hash"] not in (
        second["model"]["base_weight_hash"],
        first["model"]["base_weight_hash"],
    )
    origins = [read_json(chain / name / "origin.json") for name in "23"]
    assert [(one["part"], one["step"], one["is_exact"]) for one in origins] == [
        ("checkpoints/4", 4, True),
        ("export/hf", None, False),
    ]
    assert [link["run_id"] for link in origins[1]["chain"]] == [second["run_id"], first["run_id"]]
    assert not (chain / "1" / "origin.json").exists()
    for page in ("README.md", "report.html"):
        text = (chain / "3" / page).read_text()
        assert "model of run" in text
        assert text.index(second["run_id"]) < text.index(first["run_id"])
    log = (chain / "2" / "training_log.txt").read_text()
    assert f"the trained model of run {first['run_id']} after step 4 (checkpoints/4)" in log


def test_an_evaluation_of_its_model_gives_the_answers_of_the_run_itself(chain, tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(chain)  # from where the run is named as outputs/NAME/DATE is
    words = ("mode=eval", "model=hf", "model.layer_loop=unroll", "model.weights=./1")
    words += ("data=nano-reasoning", "eval=nano-eval", "data.max_tokens=null")
    small = ("device=cpu", "device.compilation_cache=null", "data.max_rows=60")
    asked = ("eval.max_items=5", "eval.max_new_tokens=6", "eval.heldout_every_steps=null")
    assert cli.main([f"hydra.run.dir={tmp_path / 'eval'}", *words, *small, *asked]) == 0
    model = read_json(tmp_path / "eval" / "config.json")["model"]
    assert (model["family"], model["width"], model["tokenizer"]) == ("gpt2", 16, "bundled:bytes")
    found, due = (
        read_json(folder / "run_manifest.json")["model"] for folder in (tmp_path / "eval", chain / "1")
    )
    assert found["base_weight_hash"] == due["trained_weight_hash"]
    answers = (tmp_path / "eval" / "predictions" / "base.jsonl").read_text()
    assert answers == (chain / "1" / "predictions" / "trained.jsonl").read_text()
    assert "Metadata file does not exist" not in caplog.text  # Orbax's, of a file that nothing needs


def test_the_chain_is_verified_link_by_link_and_replayed(chain, tmp_path, capsys):
    assert cli.main(["verify", str(chain)]) == 0
    assert cli.main(["replay", str(chain / "3"), "--to", str(tmp_path / "again"), "--allow-paths"]) == 0
    assert bits(tmp_path / "again") == bits(chain / "3")
    moved = Path(shutil.move(chain / "1", tmp_path / "moved"))
    try:
        capsys.readouterr()
        assert cli.main(["verify", str(chain / "3")]) == 0
        assert "not checked: the evidence of run 1-" in capsys.readouterr().out
    finally:
        shutil.move(moved, chain / "1")


@pytest.mark.parametrize(
    ("file", "says"),
    [
        ("metrics.jsonl", "in {chain}/2, with whose model it began: metrics.jsonl "),
        ("run_manifest.json", "the manifest in {chain}/2 is not that of run 2-"),
    ],
)
def test_a_byte_of_a_run_before_it_is_found(chain, file, says):
    place = chain / "2" / file
    before = place.read_bytes()
    try:
        place.write_bytes(before.replace(b"1", b"2", 1))
        seen = inspect(chain / "3")
    finally:
        place.write_bytes(before)
    assert {one.file for one in seen.disagreements} == {"origin.json"}
    assert seen.disagreements[0].what.startswith(says.format(chain=chain))
    assert verify(chain / "3") == []


def test_a_tokenizer_that_is_not_the_run_s_is_refused(chain, tmp_path):
    state = json.loads(load_tokenizer("bundled:bytes", chat="none").backend.to_str())
    vocab = state["model"]["vocab"]
    vocab["a"], vocab["b"] = vocab["b"], vocab["a"]
    (tmp_path / "tokenizer.json").write_text(json.dumps(state))
    eos = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": END_OF_TEXT}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(eos))
    words = (f"model.weights={chain / '1'}", f"model.tokenizer={tmp_path}", *SHORT)
    assert run_toy(tmp_path / "run", *words) == 1
    error = error_of(tmp_path / "run")
    assert (error["where"], error["stage"]) == ("model.tokenizer", "data")
    assert "the tokenizer is not that of the run" in error["message"]


def test_a_run_that_is_not_verified_is_no_beginning(chain, tmp_path):
    shutil.copytree(chain / "1", tmp_path / "1")
    (tmp_path / "1" / "example.txt").write_text("other\n")
    assert run_toy(tmp_path / "2", f"model.weights={tmp_path / '1'}", *SHORT) == 1
    assert "the run is not verified" in error_of(tmp_path / "2")["message"]


@pytest.mark.parametrize(
    ("before", "words", "says", "remedy"),
    [
        ((*LORA, *SHORT), (), "trained an adapter, and did not export", "adapter.weights={run}/export/peft"),
        (("mode=eval",), (), "trained no model: it is a completed run of mode eval", "that trained"),
        (None, ("model.width=32",), "model.width is 32, the run had 16", "model=hf, which takes all"),
        (None, ("model.num_heads=4",), "model.num_heads is 4, the run had 2", "model=hf, which takes all"),
    ],
)
def test_what_has_no_such_model_is_refused_by_name(chain, before, words, says, remedy, tmp_path):
    place = chain / "1"
    if before is not None:
        place = tmp_path / "before"
        assert run_toy(place, *before) == 0
    assert run_toy(tmp_path / "after", f"model.weights={place}", *words, *SHORT) == 1
    error = error_of(tmp_path / "after")
    assert says in error["message"]
    assert remedy.format(run=place) in error["remedy"]
