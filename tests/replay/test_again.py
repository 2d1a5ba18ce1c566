"""A toy run, run again from its directory: the same bits, or what differs."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import tunix_exp.stages.training
import tunix_exp.training.optim
from tests.resealing import reseal
from tests.running import TOY, bits, read_json, read_jsonl, run, run_toy
from tunix_exp import cli
from tunix_exp.evidence.layout import file_digest
from tunix_exp.evidence.verify import verify


@pytest.fixture(scope="module")
def toy(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "toy"
    assert run_toy(folder) == 0
    return folder


def replayed(original: Path, target: Path, *words: str) -> int:
    return cli.main(["replay", str(original), "--to", str(target), *words])


def test_a_replay_has_the_same_bits_and_is_evidence_itself(toy, tmp_path, capsys):
    assert replayed(toy, tmp_path / "again") == 0
    assert bits(tmp_path / "again") == bits(toy)
    assert verify(tmp_path / "again") == []
    original = read_json(toy / "run_manifest.json")
    manifest = read_json(tmp_path / "again" / "run_manifest.json")
    assert manifest["status"] == "completed"
    assert manifest["replay_of"] == {
        "run_id": original["run_id"],
        "manifest_sha256": file_digest(toy / "run_manifest.json"),
        "steps": None,
    }
    assert "replay.json" in manifest["files"]
    said = read_json(tmp_path / "again" / "replay.json")
    assert said["replay_of"] == manifest["replay_of"]
    assert said["is_identical"] is True
    assert (said["config_changed"], said["surroundings"]) == ({}, [])
    told = capsys.readouterr().out
    assert f"identical: the replay has the numbers of {original['run_id']} to the bit" in told
    assert "same kind of machine, same versions, same environment, same code" in told


def test_a_prefix_stops_after_its_last_step_and_is_compared_up_to_there(toy, tmp_path, capsys):
    assert replayed(toy, tmp_path / "again", "--steps", "2") == 0
    assert [row["step"] for row in read_jsonl(tmp_path / "again" / "metrics.jsonl")] == [1, 2]
    assert read_json(tmp_path / "again" / "run_manifest.json")["status"] == "interrupted"
    assert verify(tmp_path / "again") == []
    said = read_json(tmp_path / "again" / "replay.json")
    assert said["is_identical"] is True
    assert said["config_changed"] == {"training.stop_at_step": [None, 2]}
    assert {part["name"]: part["steps"] for part in said["series"]}["loss"] == 2
    assert [part["name"] for part in said["answers"]] == ["base predictions", "base held-out losses"]
    out, err = capsys.readouterr()
    assert "up to step 2 to the bit" in out
    assert "to go on" not in err  # a replay cannot be finished
    overrides = (tmp_path / "again" / ".hydra" / "overrides.yaml").read_text().splitlines()
    assert overrides[-1] == "- training.stop_at_step=2"
    assert overrides[:-1] == (toy / ".hydra" / "overrides.yaml").read_text().splitlines()


def made_elsewhere(root: Path, **machine: Any) -> None:
    """The run is one of another machine."""
    for file in (root / "stages").iterdir():
        record = read_json(file)
        record["inputs"]["machine"].update(machine)
        file.write_text(json.dumps(record))
    reseal(root, lambda says: says["machine"].update(machine))


def test_other_numbers_have_a_status_of_their_own_and_are_told_by_how_much(tmp_path, capsys, monkeypatch):
    scalars = tunix_exp.training.optim.scalars

    def rounded_otherwise(*config, **steps):
        found = scalars(*config, **steps)
        return found | {"peak_lr": found["peak_lr"] * 1.001}

    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(tunix_exp.training.optim, "scalars", rounded_otherwise)
        assert run_toy(tmp_path / "there") == 0
    machine = read_json(tmp_path / "there" / "run_manifest.json")["machine"]["processor"]
    environment = tmp_path / "there" / "env_info.txt"
    environment.write_text(environment.read_text().replace(machine, "Elsewhere 9000"))
    made_elsewhere(tmp_path / "there", processor="Elsewhere 9000")
    assert verify(tmp_path / "there") == []
    assert replayed(tmp_path / "there", tmp_path / "again") == 3
    told = capsys.readouterr().out
    assert "different: the replay has other numbers than there-" in told
    assert "lr: 4 of 4 steps differ, the first is step 1; at most by" in told
    assert "(0.000999 of its size)" in told
    assert "machine.processor: original Elsewhere 9000, replay " in told
    # the replay itself is whole: what it found is no fault of its own
    assert read_json(tmp_path / "again" / "run_manifest.json")["status"] == "completed"
    assert read_json(tmp_path / "again" / "replay.json")["is_identical"] is False


def test_another_kind_of_machine_is_told_even_where_the_numbers_are_the_same(toy, tmp_path, capsys):
    copy = Path(shutil.copytree(toy, tmp_path / "copy"))
    made_elsewhere(copy, threads=96, cpu_flags="avx2")
    assert replayed(copy, tmp_path / "again", "--steps", "1") == 0
    told = capsys.readouterr().out
    assert "identical" in told
    assert "machine.threads: original 96, replay " in told
    assert "machine.cpu_flags, those that the other lacks: " in told
    assert "same kind of machine" not in told


def test_a_seed_edited_in_is_refused(toy, tmp_path, capsys):
    copy = Path(shutil.copytree(toy, tmp_path / "copy"))
    config = read_json(copy / "config.json")
    (copy / "config.json").write_text(json.dumps(config | {"seed": 7}))
    assert replayed(copy, tmp_path / "again") == 2
    told = capsys.readouterr().err
    assert "the run is not verified" in told
    assert "config.json: differs from its hash in the manifest" in told
    assert not (tmp_path / "again").exists()
    # with its hashes made to fit, the manifest still has the other seed
    reseal(copy)
    assert replayed(copy, tmp_path / "again") == 2
    assert "`seed` is 0, but config.json says 7" in capsys.readouterr().err


def test_a_resumed_run_is_repeated_from_step_0_without_its_parent(toy, tmp_path):
    assert run_toy(tmp_path / "half", "training.stop_at_step=2") == 130
    assert run_toy(tmp_path / "rest", f"training.resume={tmp_path / 'half'}") == 0
    assert replayed(tmp_path / "half", tmp_path / "half again") == 0
    shutil.rmtree(tmp_path / "half")
    assert replayed(tmp_path / "rest", tmp_path / "again") == 0
    assert bits(tmp_path / "again") == bits(toy)
    said = read_json(tmp_path / "again" / "replay.json")
    assert said["config_changed"] == {"training.resume": [str(tmp_path / "half"), "never"]}
    assert {part["name"]: part["steps"] for part in said["series"]}["loss"] == 2


def test_a_job_of_a_sweep_is_repeated_alone_and_the_sweep_is_no_run(tmp_path, capsys):
    assert cli.main(["-m", f"hydra.sweep.dir={tmp_path / 'sweep'}", *TOY, "seed=3,4"]) == 0
    assert replayed(tmp_path / "sweep" / "1", tmp_path / "again", "--steps", "3") == 0
    assert replayed(tmp_path / "sweep", tmp_path / "both") == 2
    assert "there are 2 runs: 0, 1" in capsys.readouterr().err


def test_a_run_that_trained_an_adapter_has_the_same_bits(tmp_path):
    words = ("model=tiny-gemma", "adapter=lora", "adapter.rank=2", "optim.peak_lr=0.1")
    assert run_toy(tmp_path / "run", *words) == 0
    assert replayed(tmp_path / "run", tmp_path / "again") == 0
    assert bits(tmp_path / "again") == bits(tmp_path / "run")
    names = [pair["name"] for pair in read_json(tmp_path / "again" / "replay.json")["values"]]
    assert {"model.trained_weight_hash", "adapter.frozen_weight_hash_after"} < set(names)


def test_a_run_of_mode_eval_is_repeated_by_its_answers(tmp_path, capsys):
    assert run_toy(tmp_path / "run", "mode=eval") == 0
    assert replayed(tmp_path / "run", tmp_path / "again") == 0
    said = read_json(tmp_path / "again" / "replay.json")
    assert said["series"] == []
    assert [part["items"] for part in said["answers"]] == [5, 5]
    assert replayed(tmp_path / "run", tmp_path / "more", "--steps", "1") == 2
    assert "the run took no training step" in capsys.readouterr().err


def test_a_replay_that_fails_says_nothing_of_likeness(toy, tmp_path, monkeypatch, capsys):
    def burst(*_, **__):
        raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory")

    monkeypatch.setattr(tunix_exp.stages.training, "train", burst)
    assert replayed(toy, tmp_path / "again") == 1
    assert not (tmp_path / "again" / "replay.json").exists()
    assert verify(tmp_path / "again") == []
    assert "identical" not in capsys.readouterr().out


def test_a_replay_interrupted_before_its_end_is_interrupted(toy, tmp_path, monkeypatch, capsys):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(tunix_exp.stages.training, "train", stop)
    assert replayed(toy, tmp_path / "again", "--steps", "3") == 130
    assert read_json(tmp_path / "again" / "replay.json")["is_identical"] is False
    assert "identical:" not in capsys.readouterr().out


def test_without_a_place_it_goes_below_outputs_and_a_place_in_use_is_refused(
    toy, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["replay", str(toy), "--steps", "1"]) == 0
    (folder,) = (tmp_path / "outputs" / "nano-gpt2-nano-reasoning-replay").iterdir()
    assert (folder / "replay.json").exists()
    assert replayed(toy, folder) == 2
    assert "name an empty place: --to DIR" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--steps", "5"], "the run has the steps 1 to 4"),
        (["--steps", "0"], "the run has the steps 1 to 4"),
        (["--steps", "two"], "invalid int value: 'two'"),
        (["--step", "2"], "unrecognized arguments: --step"),
        (["optim.peak_lr=1"], "`optim.peak_lr` is not for a replay to choose"),
        (["data.source"], "`data.source` is not KEY=PATH"),
        (["model.weights=./here"], "the run's `model.weights` is random: it lies nowhere"),
    ],
)
def test_words_that_a_replay_does_not_take(toy, tmp_path, capsys, words, says):
    assert replayed(toy, tmp_path / "again", *words) == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "again").exists()


def test_without_evaluation_losses_and_weights_are_compared(tmp_path):
    without = [word for word in TOY if not word.startswith("eval.")]
    assert run(tmp_path / "run", *without, "eval=none") == 0
    assert replayed(tmp_path / "run", tmp_path / "again") == 0
    said = read_json(tmp_path / "again" / "replay.json")
    assert said["answers"] == []
    assert "model.trained_weight_hash" in [pair["name"] for pair in said["values"]]
