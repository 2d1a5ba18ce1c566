"""One experiment from the command line to verified evidence, at toy size."""

import math
import os
import signal
import time
from pathlib import Path

import jax
import pytest

import tunix_exp.run
import tunix_exp.stages.report
import tunix_exp.stages.training
from tests.closeness import assert_close, model_roundings
from tests.composing import composed
from tests.data.toys import saved_tokenizer
from tests.forking import Forked
from tests.models.toys import toy_config
from tests.running import TOY, bits, read_json, read_jsonl, run, run_toy
from tunix_exp import cli
from tunix_exp.evidence.verify import verify
from tunix_exp.hub import snapshot
from tunix_exp.models import loss_chunk
from tunix_exp.models.chunks import Chunks
from tunix_exp.models.kernels import Choice
from tunix_exp.models.layers import decoder
from tunix_exp.models.loss_chunk import LossChunk
from tunix_exp.report.page.run import run_page
from tunix_exp.stages.plan import attention
from tunix_exp.stages.plan import step as plan_of_step
from tunix_exp.training.compiles import CompileCount


@pytest.fixture
def toy(toy_run) -> Path:
    return toy_run


def test_a_run_ends_completed_with_every_file_and_verifies(toy):
    manifest = read_json(toy / "run_manifest.json")
    assert manifest["status"] == "completed"
    assert manifest["steps_done"] == 4
    assert verify(toy) == []
    assert [row["step"] for row in read_jsonl(toy / "metrics.jsonl")] == [1, 2, 3, 4]
    assert len(read_jsonl(toy / "predictions" / "base.jsonl")) == 5
    assert (toy / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_held_out_losses_item_by_item_add_up_to_the_summary_s_and_the_curve_s(toy):
    comparison = read_json(toy / "eval_summary.json")["comparison"]
    assert comparison["verdict"] == "no evidence of a difference"
    for which in ("base", "trained"):
        items = read_jsonl(toy / "heldout" / f"{which}.jsonl")
        answers = read_jsonl(toy / "predictions" / f"{which}.jsonl")
        assert [item["id"] for item in items] == [answer["id"] for answer in answers]
        mean = math.fsum(item["nats"] for item in items) / sum(item["tokens"] for item in items)
        assert mean == comparison["heldout_loss"][f"{which}_nats"]
    assert read_jsonl(toy / "heldout.jsonl")[-1] == {"step": 4, "loss_nats": mean}


def test_the_page_is_drawn_from_the_directory_alone_and_knows_the_defaults(toy):
    page = (toy / "report.html").read_text()
    assert run_page(toy) == page
    assert read_json(toy / ".hydra" / "defaults.json") == composed()
    assert "default 400" in page


def test_the_loss_falls_and_the_example_shows_the_mask(toy):
    losses = [row["loss"] for row in read_jsonl(toy / "metrics.jsonl")]
    assert losses[-1] < losses[0]
    example = (toy / "example.txt").read_text()
    assert "(end)" in example
    assert "^" in example
    assert "question" in example


def test_the_same_command_gives_the_same_bits(toy, tmp_path):
    assert run_toy(tmp_path / "again", "eval.heldout_every_steps=2") == 0
    assert bits(tmp_path / "again") == bits(toy)


def test_another_seed_gives_other_bits(toy, tmp_path):
    assert run_toy(tmp_path / "other", "seed=1") == 0
    assert bits(tmp_path / "other")["weights"] != bits(toy)["weights"]


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_predictions_do_not_depend_on_the_evaluation_s_batch_size(toy, tmp_path, batch_size):
    assert run_toy(tmp_path / "run", f"eval.batch_size={batch_size}") == 0
    for which in ("base", "trained"):
        assert bits(tmp_path / "run")[which] == bits(toy)[which]


def test_every_split_into_accumulation_steps_trains_alike(toy, tmp_path):
    assert run_toy(tmp_path / "run", "optim.accumulation_steps=4") == 0
    split, whole = (read_jsonl(folder / "metrics.jsonl") for folder in (tmp_path / "run", toy))
    split, whole = ([row["loss"] for row in rows] for rows in (split, whole))
    model = toy_config(width=16, mlp_width=32, num_layers=1, vocab_size=512)
    assert_close(split, whole, roundings=model_roundings(model, 64, passes=4 * 3))


# Examples of 36 to 48 tokens: of three widths, or two to a row.
BUCKETS = ("training.batching=buckets", "training.bucket_widths=[40,44,64]")
PACKED = ("training.batching=packed", "data.max_tokens=96", "model.num_positions=96")


def test_buckets_compile_a_step_for_each_width_before_training_and_none_while_it_lasts(tmp_path, monkeypatch):
    counts = []
    whole = tunix_exp.stages.training.train

    def counted(*arguments, **named):
        compiles = CompileCount()
        try:
            return whole(*arguments, **named)
        finally:
            counts.append(compiles.count)
            compiles.close()

    monkeypatch.setattr(tunix_exp.stages.training, "train", counted)
    # not compiled by another test: the width is this one's own
    words = ("model.mlp_width=36", "training.steps=15", "optim.accumulation_steps=2")
    assert run_toy(tmp_path / "run", *BUCKETS, *words) == 0
    rows = read_jsonl(tmp_path / "run" / "metrics.jsonl")
    assert {row["padded_tokens"] for row in rows} == {4 * 40, 4 * 44, 4 * 48}
    assert counts == [0]


@pytest.mark.parametrize("words", [BUCKETS, PACKED], ids=["buckets", "packed"])
def test_rows_put_together_are_resumed_in_the_midst_of_an_epoch(words, tmp_path):
    assert run_toy(tmp_path / "whole", *words) == 0
    assert run_toy(tmp_path / "half", *words, "training.stop_at_step=2") == 130
    assert run_toy(tmp_path / "rest", *words, f"training.resume={tmp_path / 'half'}") == 0
    whole, rest = bits(tmp_path / "whole"), bits(tmp_path / "rest")
    assert rest["metrics"] == whole["metrics"][2:]
    assert rest["weights"] == whole["weights"]


def test_a_run_stopped_and_resumed_ends_as_one_never_stopped(toy, tmp_path):
    assert run_toy(tmp_path / "half", "training.stop_at_step=2") == 130
    half = read_json(tmp_path / "half" / "run_manifest.json")
    assert half["status"] == "interrupted"
    assert "stopped after step 2 of 4" in half["error"]["message"]
    assert run_toy(tmp_path / "rest", f"training.resume={tmp_path / 'half'}") == 0
    whole, rest = bits(toy), bits(tmp_path / "rest")
    assert rest["metrics"] == whole["metrics"][2:]
    assert {k: rest[k] for k in ("weights", "base", "trained")} == {
        k: whole[k] for k in ("weights", "base", "trained")
    }
    assert read_json(tmp_path / "rest" / "run_manifest.json")["resumed_from"] == {
        "run_id": half["run_id"], "step": 2,
    }  # fmt: skip
    assert verify(tmp_path / "rest") == []


def test_resume_auto_finds_the_stopped_run_beside_it(toy, tmp_path):
    assert run_toy(tmp_path / "1", "training.stop_at_step=2") == 130
    assert run_toy(tmp_path / "2", "training.resume=auto") == 0
    assert bits(tmp_path / "2")["weights"] == bits(toy)["weights"]
    assert read_json(tmp_path / "2" / "run_manifest.json")["resumed_from"]["step"] == 2


def test_resuming_with_another_config_is_refused_key_by_key(tmp_path, capsys):
    assert run_toy(tmp_path / "half", "training.stop_at_step=2") == 130
    assert (
        run_toy(tmp_path / "rest", f"training.resume={tmp_path / 'half'}", "optim.peak_lr=0.5", "seed=3") == 1
    )
    text = (tmp_path / "rest" / "failure_analysis.md").read_text()
    assert "optim.peak_lr: 0.003 → 0.5" in text
    assert "seed: 0 → 3" in text


def test_a_sweep_compiles_once_and_a_bad_job_fails_alone(tmp_path, capfd):
    compiled: list[str] = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, seconds, **_: (
            compiled.append(event) if event.endswith("backend_compile_duration") else None
        )
    )
    status = cli.main(["-m", f"hydra.sweep.dir={tmp_path}", *TOY, "model.mlp_width=52", "seed=0,1,x"])
    assert status == 1
    manifests = [read_json(tmp_path / str(job) / "run_manifest.json") for job in range(3)]
    assert [m["status"] for m in manifests] == ["completed", "completed", "failed"]
    assert manifests[0]["compiles"]["count"] > 0
    assert manifests[1]["compiles"]["count"] == 0
    made_by = [read_json(tmp_path / job / "stages" / "base_evaluation.json")["made_by"] for job in "01"]
    assert made_by == [m["run_id"] for m in manifests[:2]]  # each seed draws a model of its own
    # not compiled by another test: the width is this one's own
    assert "`seed` = 'x'" in manifests[2]["error"]["message"]
    assert all(verify(tmp_path / str(job)) == [] for job in range(3))
    said = capfd.readouterr().out
    assert "2 of 3 jobs completed, 1 failed" in said
    assert "job 2 failed: config: `seed` = 'x'" in said
    assert "2 of 3 jobs completed" in (tmp_path / "report.html").read_text()
    summary = read_json(tmp_path / "summary.json")
    assert [job["status"] for job in summary["jobs"]] == ["completed", "completed", "failed"]
    assert summary["jobs"][2]["primary_score"] is None


def test_rates_decays_and_warm_ups_of_a_sweep_share_one_program(tmp_path):
    words = ["optim.peak_lr=1e-3,2e-3", "optim.weight_decay=0.0,0.1"]
    words += ["optim.warmup_steps=1,2", "mode=preflight"]  # which compiles the step
    toy = [word for word in TOY if not word.startswith("optim.warmup_steps=")]
    assert cli.main(["-m", f"hydra.sweep.dir={tmp_path}", *toy, "model.mlp_width=44", *words]) == 0
    counts = [read_json(tmp_path / str(job) / "run_manifest.json")["compiles"]["count"] for job in range(8)]
    assert counts[0] > 0
    assert counts[1:] == [0] * 7


def test_mode_eval_scores_the_base_model_alone(tmp_path):
    assert run_toy(tmp_path / "run", "mode=eval") == 0
    assert not (tmp_path / "run" / "metrics.jsonl").exists()
    assert read_json(tmp_path / "run" / "eval_summary.json")["trained"] is None


def test_mode_preflight_stops_before_the_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(tunix_exp.run, "load", None)
    assert run_toy(tmp_path / "run", "mode=preflight") == 0
    assert read_json(tmp_path / "run" / "plan.json")["fits"]
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_without_evaluation_a_run_shows_losses_alone(tmp_path):
    without = [word for word in TOY if not word.startswith("eval.")]
    assert run(tmp_path / "run", *without, "eval=none") == 0
    assert not (tmp_path / "run" / "eval_summary.json").exists()
    assert read_json(tmp_path / "run" / "run_manifest.json")["headline"] is None


def test_an_exception_leaves_failed_and_an_analysis(tmp_path, monkeypatch):
    def burst(*_, **__):
        raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 123 bytes")

    monkeypatch.setattr(tunix_exp.stages.training, "train", burst)
    assert run_toy(tmp_path / "run") == 1
    manifest = read_json(tmp_path / "run" / "run_manifest.json")
    assert manifest["status"] == "failed"
    assert manifest["error"]["stage"] == "training"
    assert "memory" in (tmp_path / "run" / "failure_analysis.md").read_text()
    assert (tmp_path / "run" / "predictions" / "base.jsonl").exists()
    assert not (tmp_path / "run" / "predictions" / "trained.jsonl").exists()
    assert verify(tmp_path / "run") == []


def test_evidence_that_does_not_verify_is_a_failure(tmp_path, monkeypatch):
    drawn = tunix_exp.stages.report.draw_curves

    def tamper(root, target):
        drawn(root, target)
        path = root / "predictions" / "trained.jsonl"
        path.write_text(path.read_text().replace('"correct": false', '"correct": true'))

    monkeypatch.setattr(tunix_exp.stages.report, "draw_curves", tamper)
    assert run_toy(tmp_path / "run") == 1
    manifest = read_json(tmp_path / "run" / "run_manifest.json")
    assert manifest["status"] == "failed"
    assert "predictions/trained.jsonl" in manifest["error"]["message"]


def started(folder: Path, *words: str) -> Forked:
    process = Forked(*TOY, "training.steps=100000", f"hydra.run.dir={folder}", *words)
    until = time.monotonic() + 600
    while not (folder / "metrics.jsonl").exists():
        assert process.poll() is None, process.said
        assert time.monotonic() < until
        time.sleep(0.05)
    return process


@pytest.mark.slow
def test_kill_leaves_running_and_never_completed(tmp_path):
    process = started(tmp_path / "run")
    process.kill()
    process.wait()
    assert read_json(tmp_path / "run" / "run_manifest.json")["status"] == "running"
    assert [d.what for d in verify(tmp_path / "run")] == [
        "the run did not finish: its status is still `running`"
    ]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_leaves_interrupted_with_a_checkpoint(tmp_path, number):
    process = started(tmp_path / "run")
    os.kill(process.pid, number)
    assert process.wait(timeout=600) == 130
    assert read_json(tmp_path / "run" / "run_manifest.json")["status"] == "interrupted"
    assert any(path.name.isdigit() for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert "python -m tunix_exp finish " in process.said


def test_a_preflight_needs_no_text_but_a_run_does(tmp_path):
    absent = f"model.tokenizer=hub:nobody/nothing@{'0' * 40}"
    assert run_toy(tmp_path / "plan", "mode=preflight", absent) == 0
    assert "data: not checked" in (tmp_path / "plan" / "training_log.txt").read_text()
    assert run_toy(tmp_path / "run", absent) == 1
    assert read_json(tmp_path / "run" / "run_manifest.json")["error"]["stage"] == "data"
    own = ("mode=preflight", absent, "data.template.chat=tokenizer", "data.max_tokens=null")
    assert run_toy(tmp_path / "chat", *own) == 1
    error = read_json(tmp_path / "chat" / "run_manifest.json")["error"]
    assert "the chat template is the tokenizer's, which is unavailable" in error["message"]
    assert "as data.max_tokens=512" in error["remedy"]


def test_a_preflight_refuses_a_tokenizer_that_is_there_and_lacks_the_chat_template(tmp_path, monkeypatch):
    folder = Path(saved_tokenizer(tmp_path / "tokenizer", eos_token="<bos>"))
    monkeypatch.setattr(snapshot, "resolve", lambda *_, **__: snapshot.Snapshot("0" * 40, folder))
    there = f"model.tokenizer=hub:some/body@{'0' * 40}"
    words = ("mode=preflight", there, "data.template.chat=tokenizer", "model.vocab_size=258")
    assert run_toy(tmp_path / "run", *words) == 1
    error = read_json(tmp_path / "run" / "run_manifest.json")["error"]
    assert "has no chat template" in error["message"]


@pytest.mark.slow
@pytest.mark.parametrize("family", ["gpt2", "gemma", "llama"])
def test_the_kernel_that_was_chosen_is_the_one_that_training_attends_by(tmp_path, monkeypatch, family):
    # no other than the einsum runs on a CPU: another is chosen, and what attends says what it was asked for
    asked = []
    attend = decoder.attend_rows

    def recording(*arrays, kernel, **settings):
        asked.append(kernel)
        return attend(*arrays, kernel="einsum", **settings)

    monkeypatch.setattr(decoder, "attend_rows", recording)
    monkeypatch.setattr(attention, "choose", lambda *_, **__: Choice("splash", "as the test says"))
    monkeypatch.setattr(attention, "difference", lambda *_, **__: 0.0)
    words = [word for word in TOY if not word.startswith(("eval.", "model."))]
    size = TOY[2:6] if family == "gpt2" else (f"model=tiny-{family}",)
    assert run(tmp_path / "run", "eval=none", *size, *words) == 0
    assert set(asked) == {"splash"}
    assert read_json(tmp_path / "run" / "plan.json")["attention"]["kernel"] == "splash"


def test_the_chunk_that_was_chosen_is_that_of_the_step_and_of_the_held_out_losses(tmp_path, monkeypatch):
    # a CPU's is a CPU's: another is chosen, and what makes the logits says what it was asked for
    asked, chunks_of = [], Chunks.of

    def recording(*arrays):
        asked.append(arrays[-1])
        return chunks_of(*arrays)

    monkeypatch.setattr(Chunks, "of", recording)
    monkeypatch.setattr(plan_of_step, "chosen_chunk", lambda *_: loss_chunk.Choice(LossChunk(7, None), "so"))
    assert run_toy(tmp_path / "run", "model.mlp_width=36", "model.remat=auto") == 0
    # the step, and the losses of base and trained model, which are one program
    assert asked == [7, 7]
    plan = read_json(tmp_path / "run" / "plan.json")
    assert plan["loss_chunk"] == {"tokens": 7, "words": None, "reason": "so"}
    assert (plan["remat"]["chosen"], plan["remat"]["reason"]) == ("block", "auto, as on every CPU")
    assert "loss chunk: 7 tokens (so)" in (tmp_path / "run" / "training_log.txt").read_text()
