"""What a sweep's jobs share; and a sweep gone on with: what is whole is kept, what is missing runs, once."""

import json
import os
import shutil

import psutil
import pytest

from tests.resealing import reseal
from tests.running import TOY, bits, read_json, run, run_toy
from tests.sweep.drawn import ERROR
from tests.sweep.killed import but_for_times, claimed_once, outcomes, resume, sweep
from tunix_exp import cli
from tunix_exp.evidence.layout import file_digest
from tunix_exp.evidence.verify import verify
from tunix_exp.stages import training
from tunix_exp.sweep import claims, ledger
from tunix_exp.sweep.claims import Process
from tunix_exp.sweep.state import standings

# One model, so that its evaluation is the first job's.
RATES = (*TOY, "training.save_every_steps=2", "optim.peak_lr=3e-3,2e-3,1e-3")
BASE, RECORD, LOG = "heldout/base.jsonl", "stages/base_evaluation.json", "training_log.txt"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    root = tmp_path_factory.mktemp("sweeps") / "whole"
    assert cli.main(["-m", f"hydra.sweep.dir={root}", *RATES]) == 0
    return root


@pytest.fixture
def copy(whole, tmp_path):
    """The sweep as if the process that ran it were gone."""
    root = tmp_path / "whole"
    shutil.copytree(whole, root)
    for file in (root / "claims").iterdir():
        file.write_text(json.dumps(read_json(file) | {"started_s": 0.0}))
    return root


def without(root, number, *, claim=True):
    shutil.rmtree(root / str(number))
    if claim:
        (root / "claims" / f"{number}.1.json").unlink()


def test_a_job_of_a_sweep_has_the_bits_of_the_run_alone(whole, tmp_path):
    assert run_toy(tmp_path / "alone", "training.save_every_steps=2", "optim.peak_lr=2e-3") == 0
    assert bits(tmp_path / "alone") == bits(whole / "1")
    assert (tmp_path / "alone" / BASE).read_bytes() == (whole / "1" / BASE).read_bytes()


def test_the_base_model_is_evaluated_by_one_job_and_every_job_verifies_alone(whole, tmp_path):
    first = read_json(whole / "0" / "run_manifest.json")["run_id"]
    for number in "012":
        alone = shutil.copytree(whole / number, tmp_path / number)
        assert verify(alone) == []
        assert read_json(alone / RECORD)["made_by"] == first
        says = f"| base evaluation | reused from run `{first}` |" in (alone / "README.md").read_text()
        logs = f"base evaluation: reused from {whole / '0'}, made by" in (alone / LOG).read_text()
        assert says == logs == (number != "0")


def test_a_shared_evaluation_that_was_altered_or_forged_is_named(whole, tmp_path):
    job = shutil.copytree(whole / "1", tmp_path / "1")
    losses = job / BASE
    losses.write_text(losses.read_text().replace('"nats": ', '"nats": 1', 1))
    assert BASE in {one.file for one in verify(job)}
    reseal(job)
    assert {BASE, "eval_summary.json"} <= {one.file for one in verify(job)}
    record = read_json(job / RECORD)
    record["files"][BASE] = file_digest(losses)
    (job / RECORD).write_text(json.dumps(record))
    reseal(job)
    assert "eval_summary.json" in {one.file for one in verify(job)}


def test_a_job_of_a_sweep_is_replayed_without_its_evaluation_and_compares_as_any_run(whole, tmp_path, capsys):
    assert cli.main(["replay", str(whole / "1"), "--to", str(tmp_path / "again")]) == 0
    assert "identical: the replay has the numbers of " in capsys.readouterr().out
    again = read_json(tmp_path / "again" / "run_manifest.json")["run_id"]
    assert read_json(tmp_path / "again" / RECORD)["made_by"] == again


@pytest.mark.slow
def test_seeds_of_an_adapter_share_the_evaluation_of_their_base_also_that_of_a_job_that_failed(
    toy_run, tmp_path, monkeypatch
):
    words = ("model=hf", f"model.weights={toy_run}", "data=nano-reasoning", "eval=nano-eval")
    words += ("adapter=lora", "adapter.rank=2")
    train, begun = training.train, []

    def fails_at_first(*given, **named):
        begun.append(1)
        if len(begun) == 1:
            raise RuntimeError("the first job fails")
        return train(*given, **named)

    monkeypatch.setattr(training, "train", fails_at_first)
    root, toy = tmp_path / "sweep", [word for word in TOY if not word.startswith("model.")]
    assert cli.main(["-m", f"hydra.sweep.dir={root}", *toy, *words, "seed=0,1"]) == 1
    manifests = [read_json(root / number / "run_manifest.json") for number in "01"]
    assert [one["status"] for one in manifests] == ["failed", "completed"]
    assert read_json(root / "1" / RECORD)["made_by"] == manifests[0]["run_id"]
    assert verify(root / "1") == []
    assert run(tmp_path / "alone", *toy, *words, "seed=1") == 0
    assert bits(tmp_path / "alone") == bits(root / "1")


def test_what_is_missing_runs_and_what_is_whole_is_kept(copy, whole):
    kept = (copy / "0" / "run_manifest.json").read_bytes()
    without(copy, 1)
    without(copy, 2, claim=False)  # killed before its run had begun
    assert [one.job.status for one in standings(copy)] == ["completed", "missing", "missing"]
    assert cli.main(["sweep", "resume", str(copy)]) == 0
    assert (copy / "0" / "run_manifest.json").read_bytes() == kept
    for number in "12":
        assert bits(copy / number) == bits(whole / number)
    for name in ("summary.json", "summary.csv", "summary.md"):
        assert but_for_times(copy, name) == but_for_times(whole, name)
    names = sorted(path.name for path in (copy / "claims").iterdir())
    assert names == ["0.1.json", "1.1.json", "2.1.json", "2.2.json"]


def test_a_grid_that_was_shuffled_goes_on_in_the_order_that_it_had(copy):
    known = read_json(copy / "sweep.json")
    typed = [word.replace("3e-3,2e-3,1e-3", "shuffle(1e-3,2e-3,3e-3,4e-3)") for word in known["arguments"]]
    (copy / "sweep.json").write_text(json.dumps(known | {"arguments": typed}))
    assert cli.main(["sweep", "resume", str(copy)]) == 0


def test_an_interrupted_job_goes_on_from_its_checkpoint(copy, whole):
    shutil.rmtree(copy / "2")
    words = ["training.save_every_steps=2", "training.stop_at_step=2", "optim.peak_lr=1e-3"]
    assert run_toy(copy / "2", *words) == 130
    manifest = read_json(copy / "2" / "run_manifest.json")
    (copy / "2" / "run_manifest.json").write_text(json.dumps(manifest | {"status": "running", "error": None}))
    config = read_json(copy / "2" / "config.json")
    config["training"]["stop_at_step"] = None
    (copy / "2" / "config.json").write_text(json.dumps(config))
    assert standings(copy)[2].job.status == "interrupted"
    assert cli.main(["sweep", "resume", str(copy)]) == 0
    resumed = read_json(copy / "2" / "run_manifest.json")["resumed_from"]
    assert (resumed["run_id"], resumed["step"]) == (manifest["run_id"], 2)
    assert (copy / "attempts" / "2.1" / "run_manifest.json").is_file()
    assert bits(copy / "2")["weights"] == bits(whole / "2")["weights"]
    assert but_for_times(copy, "summary.json") == but_for_times(whole, "summary.json")


def test_a_job_that_failed_runs_again_and_a_job_that_is_held_does_not(copy, capfd):
    without(copy, 1, claim=False)
    without(copy, 2, claim=False)
    parent = Process.own().model_dump() | {"pid": os.getppid()}
    parent["started_s"] = psutil.Process(os.getppid()).create_time()
    (copy / "claims" / "2.1.json").write_text(json.dumps(parent))
    assert cli.main(["sweep", "resume", str(copy)]) == 0
    said = capfd.readouterr().out
    words = " ".join(ledger.read(copy).jobs[2].words)
    assert f"job 2: running, {words} (held by process {os.getppid()}" in said
    assert "2 of 3 jobs completed, 1 running" in said
    assert not (copy / "2").exists()


def test_a_job_that_ended_on_another_machine_is_due_and_one_that_may_run_there_is_held(copy):
    for number, status in enumerate(("completed", "failed", "running")):
        claim, run = copy / "claims" / f"{number}.1.json", copy / str(number) / "run_manifest.json"
        claim.write_text(json.dumps(read_json(claim) | {"host": "another"}))
        error = ERROR if status == "failed" else None
        run.write_text(json.dumps(read_json(run) | {"status": status, "error": error}))
    assert [one.is_due for one in standings(copy)] == [False, True, False]


def test_how_the_jobs_stand_is_told(copy, capfd):
    without(copy, 1)
    assert cli.main(["sweep", "show", str(copy)]) == 0
    said = capfd.readouterr().out
    assert "job 0: completed, " in said
    assert "job 1: missing, " in said
    assert "2 of 3 jobs completed" in said


def test_what_was_changed_is_refused_key_by_key(copy, capfd):
    known = read_json(copy / "sweep.json")
    known["jobs"][1]["differs"]["optim.peak_lr"] = 0.5
    known["jobs"][1]["config_hash"] = "0" * 64
    known["code"]["version"] = "0.0.1"
    (copy / "sweep.json").write_text(json.dumps(known))
    assert cli.main(["sweep", "resume", str(copy)]) == 2
    said = capfd.readouterr().err
    assert "the sweep would go on with something else than it began with" in said
    assert "  job 1: optim.peak_lr: 0.5 → 0.002" in said
    assert "  code.version: 0.0.1 → " in said


def test_a_completed_job_that_no_longer_verifies_is_refused(copy, capfd):
    (copy / "1" / "example.txt").write_text("another\n")
    assert cli.main(["sweep", "resume", str(copy)]) == 2
    said = capfd.readouterr().err
    assert "completed jobs are not verified\n  job 1: example.txt: differs from its hash" in said


def test_a_directory_that_holds_a_sweep_is_refused_and_one_that_holds_none(copy, tmp_path, capfd):
    assert cli.main(["-m", f"hydra.sweep.dir={copy}", *RATES]) == 2
    assert f"to go on, `python -m tunix_exp sweep resume {copy}`" in capfd.readouterr().err
    assert cli.main(["sweep", "resume", str(tmp_path)]) == 2
    assert "there is no sweep.json: no sweep had begun here" in capfd.readouterr().err
    (copy / "sweep.json").write_text('{"schema_version": 1}')
    assert cli.main(["sweep", "show", str(copy)]) == 2
    assert "sweep.json is damaged: `arguments`" in capfd.readouterr().err
    for text in ("", "{", "[1]"):
        (copy / "sweep.json").write_text(text)
        assert cli.main(["sweep", "resume", str(copy)]) == 2
        told = capfd.readouterr().err
        assert "sweep.json is damaged: " in told
        assert "``" not in told


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("seed=range(2,0)", "the sweep has no jobs: one of its ranges or globs is empty"),
        ("hydra.sweeper.max_batch_size=0", "`hydra.sweeper.max_batch_size` = 0: input should be greater"),
    ],
)
def test_a_grid_that_would_run_nothing_is_refused(word, says, tmp_path, capfd):
    assert cli.main(["-m", f"hydra.sweep.dir={tmp_path}", *TOY, word]) == 2
    assert says in capfd.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_two_jobs_in_one_directory_are_refused(tmp_path, capfd):
    words = ["hydra.sweep.subdir=one", "mode=smoke", "seed=0,1"]
    assert cli.main(["-m", f"hydra.sweep.dir={tmp_path}", *words]) == 2
    assert "jobs 0 and 1 would both lie in one" in capfd.readouterr().err


def test_an_attempt_is_claimed_by_one_alone(tmp_path):
    assert claims.take(tmp_path, 3, 1)
    assert not claims.take(tmp_path, 3, 1)
    assert claims.newest(tmp_path)[3].holder == Process.own()
    assert [path.name for path in (tmp_path / "claims").iterdir()] == ["3.1.json"]


def test_a_claim_of_a_process_that_is_gone_or_whose_number_another_has_holds_nothing():
    own = Process.own()
    assert own.may_live
    assert not own.model_copy(update={"started_s": own.started_s - 60}).may_live
    assert not own.model_copy(update={"pid": 2**22 + 1}).may_live
    assert own.model_copy(update={"host": "another"}).may_live


@pytest.mark.slow
def test_a_sweep_that_is_killed_ends_like_the_one_that_never_was(tmp_path):
    first = sweep(tmp_path / "never")
    assert first.wait() == 0, first.said
    for told, faults in outcomes(tmp_path, tmp_path / "never", seed=1, count=1):
        assert not faults, (told, faults)


@pytest.mark.slow
def test_of_two_that_go_on_at_once_each_job_is_run_by_one(tmp_path):
    root = tmp_path / "sweep"
    first = sweep(root)
    while not (root / "sweep.json").is_file():
        assert first.poll() is None, first.said
    second = resume(root)
    assert (first.wait(), second.wait()) == (0, 0), second.said
    assert claimed_once(root)
