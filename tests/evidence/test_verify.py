import json
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.resealing import reseal
from tunix_exp.errors import Interrupted, UserError
from tunix_exp.evidence.board import Board
from tunix_exp.evidence.kinds.rates import UNSEEN, pace
from tunix_exp.evidence.manifest import config_hash
from tunix_exp.evidence.run_directory import RunDirectory
from tunix_exp.evidence.verify import Disagreement, verify
from tunix_exp.verbs import verify as verb

Alter = Callable[[Path], None]


def _edit(name: str, change: Callable[[Any], object]) -> Alter:
    """Change the value in a JSON file."""

    def alter(root: Path) -> None:
        value = json.loads((root / name).read_text(encoding="utf-8"))
        change(value)
        (root / name).write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")

    return alter


def _rows(name: str, change: Callable[[list[dict[str, Any]]], object]) -> Alter:
    """Change the rows of a JSON Lines file."""

    def alter(root: Path) -> None:
        rows = [json.loads(line) for line in (root / name).read_text(encoding="utf-8").splitlines()]
        change(rows)
        (root / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    return alter


def _config(change: Callable[[Any], object]) -> Alter:
    """Change the config and, with care, its hash in the manifest."""

    def alter(root: Path) -> None:
        _edit("config.json", change)(root)
        digest = config_hash(json.loads((root / "config.json").read_text(encoding="utf-8")))
        _edit("run_manifest.json", lambda manifest: manifest.update(config_hash=digest))(root)

    return alter


def _replace(name: str, old: str, new: str) -> Alter:
    """Other words in a file, once."""

    def alter(root: Path) -> None:
        content = (root / name).read_bytes()
        assert content.count(old.encode()) == 1
        (root / name).write_bytes(content.replace(old.encode(), new.encode()))

    return alter


def _bytes(name: str, content: bytes) -> Alter:
    def alter(root: Path) -> None:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)

    return alter


def _remove(name: str) -> Alter:
    def alter(root: Path) -> None:
        shutil.rmtree(root / name) if (root / name).is_dir() else (root / name).unlink()

    return alter


def _pop_last(root: Path) -> None:
    """Take the last item out of both predictions."""
    for name in (BASE, TRAINED, *LOSSES):
        _rows(name, lambda rows: rows.pop())(root)


def _board(*curves: tuple[str, list[tuple[int, float]]]) -> Alter:
    """Another event file in place of the run's own."""

    def alter(root: Path) -> None:
        shutil.rmtree(root / "tensorboard")
        board = Board(root / "tensorboard")
        for tag, points in curves:
            for step, value in points:
                board.scalars(step, {tag: value})
        board.close()

    return alter


def _manifest(change: Callable[[Any], object]) -> Alter:
    return _edit("run_manifest.json", change)


ADAPTER = {
    "name": "lora", "weights": "random", "rank": 8, "alpha": 16.0, "scaling": "lora", "dropout": 0.0,
    "targets": ["attention"], "merge_for_eval": False,
}  # fmt: skip
RECORDED = ADAPTER | {
    "targets": ["attn.c_attn"], "parameter_count": 5, "frozen_dtype": "float32",
    "frozen_weight_hash_after": "a" * 64, "files": {},
}  # fmt: skip


def _adapter(config: dict[str, Any], recorded: dict[str, Any] | None) -> Alter:
    """An adapter in the config, and in the manifest."""

    def alter(root: Path) -> None:
        _config(lambda plain: plain.update(adapter=config))(root)
        _manifest(lambda manifest: manifest.update(adapter=recorded))(root)

    return alter


class Alteration(NamedTuple):
    """A change made with care, hashes included, and the file and words that must answer it."""

    file: str
    says: str
    alter: Alter


BASE, TRAINED = "predictions/base.jsonl", "predictions/trained.jsonl"
LOSSES = "heldout/base.jsonl", "heldout/trained.jsonl"

ALTERATIONS = {
    "a config changed after the run": Alteration(
        "config.json",
        "is not the config of `config_hash`",
        _edit("config.json", lambda config: config["optim"].update(peak_lr=1.0)),
    ),
    "half a character in the config": Alteration(
        "config.json",
        "is not the config of `config_hash`",
        _edit("config.json", lambda config: config["optim"].update({"\ud800": 1.0})),
    ),
    "a training set that is none": Alteration(
        "data_card.json",
        "has no `source`",
        _edit("data_card.json", lambda card: card.update(train=True)),
    ),
    "sets that are none": Alteration(
        "data_card.json",
        "`train.sets` is [], not sets by their names",
        _edit("data_card.json", lambda card: card["train"].update(sets=[])),
    ),
    "a line of the step that the run began after": Alteration(
        "metrics.jsonl",
        "step 1: `step_s` is 0.1, the counters give 0.0",
        _manifest(lambda manifest: manifest.update(resumed_from={"run_id": "toy/0", "step": 1})),
    ),
    "another model in the manifest": Alteration(
        "run_manifest.json",
        "`model.name` is 'gemma2b', but config.json says 'toy-gpt2'",
        _manifest(lambda manifest: manifest["model"].update(name="gemma2b")),
    ),
    "another seed in the config": Alteration(
        "run_manifest.json",
        "`seed` is 3, but config.json says 4",
        _config(lambda config: config.update(seed=4)),
    ),
    "another mode in the manifest": Alteration(
        "run_manifest.json",
        "`mode.name` is 'smoke', but config.json says 'full'",
        _manifest(lambda manifest: manifest.update(mode="smoke")),
    ),
    "an adapter that was not trained": Alteration(
        "run_manifest.json", "`adapter.name` is 'none', but config.json says 'lora'", _adapter(ADAPTER, None)
    ),
    "an adapter of another rank": Alteration(
        "run_manifest.json",
        "`adapter.rank` is 8, but config.json says 4",
        _adapter(ADAPTER | {"rank": 4}, RECORDED),
    ),
    "frozen weights that changed": Alteration(
        "run_manifest.json",
        "frozen weights changed",
        _adapter(ADAPTER, RECORDED | {"frozen_weight_hash_after": "c" * 64}),
    ),
    "frozen weights that nobody looked at again": Alteration(
        "run_manifest.json",
        "`adapter.frozen_weight_hash_after` is null",
        _adapter(ADAPTER, RECORDED | {"frozen_weight_hash_after": None}),
    ),
    "an export that is not there": Alteration(
        "export/hf/config.json",
        "is missing: config.json has training.export=['hf']",
        _config(lambda config: config["training"].update(export=["hf"])),
    ),
    "an export that nobody asked for": Alteration(
        "export/peft/", "config.json has training.export=[]", _bytes("export/peft/README.md", b"# no")
    ),
    "a null in the manifest": Alteration(
        "run_manifest.json",
        "`devices` is null, but the run is `completed`",
        _manifest(lambda manifest: manifest.update(devices=None)),
    ),
    "a headline typed by hand": Alteration(
        "run_manifest.json",
        "`headline.trained_score` is 1.0, but eval_summary.json says 0.83",
        _manifest(lambda manifest: manifest["headline"].update(trained_score=1.0)),
    ),
    "fewer steps than the config asks for": Alteration(
        "run_manifest.json",
        "`steps_done` is 10, but config.json has training.steps=20",
        _manifest(lambda manifest: manifest.update(steps_done=10)),
    ),
    "a logged step taken out": Alteration(
        "metrics.jsonl",
        "holds 4 steps where 5 are due; step 10 is missing",
        _rows("metrics.jsonl", lambda rows: rows.pop(2)),
    ),
    "a step twice": Alteration(
        "metrics.jsonl",
        "line 3: step 5 follows step 5",
        _rows("metrics.jsonl", lambda rows: rows.insert(2, rows[1])),
    ),
    "a loss that is no number": Alteration(
        "metrics.jsonl",
        "line 2: holds NaN",
        _rows("metrics.jsonl", lambda rows: rows[1].update(loss=float("nan"))),
    ),
    "a better loss": Alteration(
        "tensorboard/",
        "the curve `loss` differs from metrics.jsonl",
        _rows("metrics.jsonl", lambda rows: rows[-1].update(loss=0.001)),
    ),
    "a metric without its key": Alteration(
        "metrics.jsonl", "line 1: has no `lr`", _rows("metrics.jsonl", lambda rows: rows[0].pop("lr"))
    ),
    "a faster run in the manifest": Alteration(
        "run_manifest.json",
        "`tokens_per_s` is not what the counters of the last line give",
        _manifest(lambda manifest: manifest.update(tokens_per_s=1e6)),
    ),
    "more operations a second in the manifest": Alteration(
        "run_manifest.json",
        "`model_flops_per_s` is 6000.0, and the lines come to 5000.0",
        _manifest(lambda manifest: manifest["throughput"].update(model_flops_per_s=6e3)),
    ),
    "an MFU in the manifest": Alteration(
        "run_manifest.json",
        "`mfu` is in the manifest alone",
        _manifest(lambda manifest: manifest["throughput"].update(mfu=0.5)),
    ),
    "less memory in the manifest": Alteration(
        "run_manifest.json",
        "`findings` lacks one: run_manifest.json, peak_memory_bytes: the most memory held so far is 899",
        _manifest(lambda manifest: manifest.update(peak_memory_bytes=899)),
    ),
    "a faster line": Alteration(
        "metrics.jsonl",
        "step 20: `tokens_per_s` is 9.0, the counters give 64",
        _rows("metrics.jsonl", lambda rows: rows[-1].update(tokens_per_s=9.0)),
    ),
    "a held-out loss taken out": Alteration(
        "heldout.jsonl",
        "holds 1 steps where 2 are due; step 16 is missing",
        _rows("heldout.jsonl", lambda rows: rows.pop()),
    ),
    "no held-out losses": Alteration("heldout.jsonl", "holds 0 steps", _remove("heldout.jsonl")),
    "a better held-out loss": Alteration(
        "tensorboard/",
        "the curve `heldout/loss_nats` differs from heldout.jsonl",
        _rows("heldout.jsonl", lambda rows: rows[-1].update(loss_nats=0.001)),
    ),
    "an empty board": Alteration("tensorboard/", "the curve `loss` differs from metrics.jsonl", _board()),
    "a board without the result": Alteration(
        "tensorboard/", "`final/trained_score` is not the headline of the manifest", _board()
    ),
    "a board with another result": Alteration(
        "tensorboard/",
        "`final/base_score` is not the headline of the manifest",
        _board(("final/base_score", [(20, 0.9)])),
    ),
    "a board with a result of its own": Alteration(
        "tensorboard/",
        "`final/glory` is not the headline of the manifest",
        _board(("final/glory", [(20, 1.0)])),
    ),
    "a damaged event file": Alteration(
        "tensorboard/events.out.tfevents.run",
        "record 1 is cut",
        _bytes("tensorboard/events.out.tfevents.run", b"events"),
    ),
    "a right answer typed in": Alteration(
        BASE,
        "line 3: `correct` is True, scored again False",
        _rows(BASE, lambda rows: rows[2].update(correct=True)),
    ),
    "an extracted answer typed in": Alteration(
        TRAINED,
        "line 6: `extracted_answer` is '5', the output gives '105'",
        _rows(TRAINED, lambda rows: rows[5].update(extracted_answer="5", correct=True)),
    ),
    "an expected answer fitted to the output": Alteration(
        TRAINED,
        "line 6: `expected_answer` differs from predictions/base.jsonl",
        _rows(TRAINED, lambda rows: rows[5].update(expected_answer="105", correct=True)),
    ),
    "a hard item taken out of both": Alteration(
        BASE,
        "has 5 items, the manifest 6",
        _pop_last,
    ),
    "an item taken out of one": Alteration(
        TRAINED, "has other ids than predictions/base.jsonl", _rows(TRAINED, lambda rows: rows.pop())
    ),
    "two items exchanged": Alteration(
        TRAINED,
        "has other ids than predictions/base.jsonl",
        _rows(TRAINED, lambda rows: rows.insert(0, rows.pop(1))),
    ),
    "an item counted twice": Alteration(
        BASE, "line 7: the id `item-0` is there twice", _rows(BASE, lambda rows: rows.append(rows[0]))
    ),
    "a prediction with a key too many": Alteration(
        BASE,
        "line 1: not a prediction: `note` is unknown",
        _rows(BASE, lambda rows: rows[0].update(note="x")),
    ),
    "a score typed into the summary": Alteration(
        "eval_summary.json",
        "`trained` is not what the predictions and losses give",
        _edit("eval_summary.json", lambda summary: summary["trained"].update(primary_score=1.0)),
    ),
    "a comparison typed into the summary": Alteration(
        "eval_summary.json",
        "`comparison` is not what the predictions and losses give",
        _edit("eval_summary.json", lambda summary: summary["comparison"].update(flips_to_wrong=-1)),
    ),
    "a summary by another extractor": Alteration(
        "eval_summary.json",
        "was made by extractor v0, and this package has v2",
        _edit("eval_summary.json", lambda summary: summary.update(extractor="v0")),
    ),
    "a summary without its extractor": Alteration(
        "eval_summary.json",
        "`extractor` is not what the predictions and losses give",
        _edit("eval_summary.json", lambda summary: summary.pop("extractor")),
    ),
    "a held-out loss typed into the summary": Alteration(
        "eval_summary.json",
        "`base` is not what the predictions and losses give",
        _edit("eval_summary.json", lambda summary: summary["base"].update(heldout_loss_nats=0.1)),
    ),
    "a better loss of one item": Alteration(
        "eval_summary.json",
        "`comparison` is not what the predictions and losses give",
        _rows(LOSSES[1], lambda rows: rows[2].update(nats=0.001)),
    ),
    "a loss of fewer tokens": Alteration(
        LOSSES[1],
        "line 1: `tokens` differs from heldout/base.jsonl",
        _rows(LOSSES[1], lambda rows: rows[0].update(tokens=2)),
    ),
    "losses of other items": Alteration(
        LOSSES[0],
        "has other ids than predictions/base.jsonl",
        _rows(LOSSES[0], lambda rows: rows.pop()),
    ),
    "a loss that is none": Alteration(
        LOSSES[0],
        "line 2: not an item's loss: has the keys id, nats",
        _rows(LOSSES[0], lambda rows: rows[1].pop("tokens")),
    ),
    "other draws than the config's": Alteration(
        "eval_summary.json",
        "`comparison` is not what the predictions and losses give",
        _config(lambda config: config["eval"].update(resamples=2000)),
    ),
    "a config without draws": Alteration(
        "config.json",
        "`eval.resamples` is None",
        _config(lambda config: config["eval"].update(resamples=None)),
    ),
    "other rows in the data card": Alteration(
        "data_card.json",
        "`statistics.rows_kept` is 5, but the manifest (`data.rows`) says 12",
        _edit("data_card.json", lambda card: card["statistics"].update(rows_kept=5)),
    ),
    "another eval set in the data card": Alteration(
        "data_card.json",
        "`eval.name` is 'easier', but the manifest (`eval.name`) says 'toy-eval'",
        _edit("data_card.json", lambda card: card["eval"].update(name="easier")),
    ),
    "a data card without its hash": Alteration(
        "data_card.json",
        "has no `train.sha256`",
        _edit("data_card.json", lambda card: card["train"].pop("sha256")),
    ),
    "a log in UTF-16": Alteration(
        "training_log.txt", "is not UTF-8", _bytes("training_log.txt", "größer".encode("utf-16"))
    ),
    "an empty log": Alteration("training_log.txt", "is empty", _bytes("training_log.txt", b"\n")),
    "an environment with a byte order mark": Alteration(
        "env_info.txt", "begins with a byte order mark", _bytes("env_info.txt", b"\xef\xbb\xbfpython")
    ),
    "a plan that is not JSON": Alteration("plan.json", "is not JSON", _bytes("plan.json", b"{")),
    "a composed config of other values": Alteration(
        ".hydra/config.yaml",
        "`optim.peak_lr` is 0.1, but config.json says 0.001",
        _replace(".hydra/config.yaml", "peak_lr: 0.001", "peak_lr: 0.1"),
    ),
    "a composed config without a key": Alteration(
        ".hydra/config.yaml",
        "and config.json: `seed` is missing in .hydra/config.yaml",
        _replace(".hydra/config.yaml", "seed: 3\n", ""),
    ),
    "a composed config that is not YAML": Alteration(
        ".hydra/config.yaml", "is not YAML", _bytes(".hydra/config.yaml", b"a: [")
    ),
    "a composed config that is a list": Alteration(
        ".hydra/config.yaml", "holds list, not dict", _bytes(".hydra/config.yaml", b"- a\n")
    ),
    "an override that was not given": Alteration(
        ".hydra/overrides.yaml",
        "are ['seed=3', 'optim.peak_lr=1'], but .hydra/hydra.yaml says ['seed=3']",
        _bytes(".hydra/overrides.yaml", b"- seed=3\n- optim.peak_lr=1\n"),
    ),
    "another command": Alteration(
        ".hydra/overrides.yaml",
        "`seed=3` is not in `command` of the manifest",
        _manifest(lambda manifest: manifest.update(command=["python", "-m", "tunix_exp", "seed=4"])),
    ),
    "another template in the data card": Alteration(
        "data_card.json",
        "`template` is {'prompt': 'Q: {question}', 'response': '{reasoning} [{answer}]', "
        "'response_without_reasoning': '[{answer}]'}, but config.json (`data.template`) says",
        _edit("data_card.json", lambda card: card["template"].update(prompt="Q: {question}")),
    ),
    "another choice of what is learnt in the data card": Alteration(
        "data_card.json",
        "`learn` is 'all_tokens', but config.json (`data.learn`) says 'response'",
        _edit("data_card.json", lambda card: card.update(learn="all_tokens")),
    ),
    "another tokenizer in the data card": Alteration(
        "data_card.json",
        "`tokenizer.digest` is 'b', but the manifest (`model.tokenizer_digest`) says 'aaaa",
        _edit("data_card.json", lambda card: card["tokenizer"].update(digest="b")),
    ),
    "a board without hyperparameters": Alteration(
        "tensorboard/", "the hyperparameter `optim.peak_lr` is not config.json's", _board()
    ),
    "a checkpoint of a later step": Alteration(
        "checkpoints/",
        "the newest is of step 40, but 20 steps were done",
        lambda run: (run / "checkpoints" / "20").rename(run / "checkpoints" / "40") and None,
    ),
    "an answer of other length": Alteration(
        "eval_summary.json",
        "`base` is not what the predictions and losses give",
        _rows(BASE, lambda rows: rows[0].update(tokens=6)),
    ),
    "an answer that ended by itself": Alteration(
        "eval_summary.json",
        "`trained` is not what the predictions and losses give",
        _rows(TRAINED, lambda rows: rows[0].update(stop_reason="length")),
    ),
    "a summary by other statistics": Alteration(
        "eval_summary.json",
        "was made by statistics v0, and this package has v1",
        _edit("eval_summary.json", lambda summary: summary.update(statistics="v0")),
    ),
    "no checkpoint": Alteration(
        "checkpoints/", "is missing in a completed run of mode full", _remove("checkpoints")
    ),
    "no composed config": Alteration(
        ".hydra/config.yaml", "is missing in a completed run", _remove(".hydra/config.yaml")
    ),
    "no trained predictions": Alteration(TRAINED, "is missing in a completed run", _remove(TRAINED)),
    "an analysis of a failure": Alteration(
        "failure_analysis.md", "cannot come from a completed run", _bytes("failure_analysis.md", b"# no")
    ),
    "a patch of unknown origin": Alteration(
        "source.patch", "is not the file of `code.git_diff_sha256`", _bytes("source.patch", b"+x\n")
    ),
    "a patch of unknown origin behind names of other files": Alteration(
        "source.patch",
        "is not the file of `code.git_diff_sha256`",
        _bytes("source.patch", b"untracked - a.log\n+x\n"),
    ),
    "a lock of unknown origin": Alteration(
        "uv.lock", "is not the file of `code.lock_sha256`", _bytes("uv.lock", b"version = 1\n")
    ),
    "a comparison in a run that repeats none": Alteration(
        "replay.json",
        "`replay_of` is {'run_id': 'x'}, but the manifest says None",
        _bytes("replay.json", b'{"replay_of": {"run_id": "x"}}'),
    ),
    "a replay without its comparison": Alteration(
        "replay.json",
        "is missing in a completed run",
        _manifest(
            lambda says: says.update(replay_of={"run_id": "x", "manifest_sha256": "a" * 64, "steps": None})
        ),
    ),
    "a patch that is gone": Alteration(
        "source.patch",
        "is missing: the manifest has its hash in `code.git_diff_sha256`",
        _manifest(
            lambda says: says["code"].update(git_commit="a" * 40, git_dirty=True, git_diff_sha256="b" * 64)
        ),
    ),
    "a config without a key that is needed": Alteration(
        "config.json",
        "has no `training.log_every_steps`",
        _config(lambda config: config["training"].pop("log_every_steps")),
    ),
    "a config with a count that is none": Alteration(
        "config.json",
        "`training.log_every_steps` is 0, not a count",
        _config(lambda config: config["training"].update(log_every_steps=0)),
    ),
    "a config without an interval": Alteration(
        "config.json",
        "`training.log_every_steps` is null",
        _config(lambda config: config["training"].update(log_every_steps=None)),
    ),
}


@pytest.fixture
def run(tmp_path: Path, completed_run: Path) -> Path:
    return Path(shutil.copytree(completed_run, tmp_path / "run"))


def _says(found: list[Disagreement], file: str, says: str) -> bool:
    return any(one.file == file and says in one.what for one in found)


def test_a_completed_run_disagrees_nowhere(completed_run: Path) -> None:
    assert verify(completed_run) == []


@pytest.mark.parametrize("name", ALTERATIONS)
def test_an_alteration_made_with_care_is_found(run: Path, name: str) -> None:
    alteration = ALTERATIONS[name]
    alteration.alter(run)
    reseal(run)
    found = verify(run)
    assert _says(found, alteration.file, alteration.says), found


def test_every_file_of_a_run_is_guarded_by_its_hash(run: Path) -> None:
    ends = ("run_manifest.json", "SHA256SUMS")
    files = sorted(path for path in run.rglob("*") if path.is_file() and path.name not in ends)
    assert len(files) == 23
    for file in files:
        before = file.read_bytes()
        file.write_bytes(before + b" ")
        assert _says(verify(run), file.relative_to(run).as_posix(), "differs from its hash"), file
        file.unlink()
        assert _says(verify(run), file.relative_to(run).as_posix(), "is missing: the manifest has"), file
        file.write_bytes(before)
    assert verify(run) == []


def test_a_run_without_its_seal_or_with_another_is_named(run: Path) -> None:
    text = (run / "SHA256SUMS").read_text()
    (run / "SHA256SUMS").write_text(text.replace("metrics.jsonl", "metrics.json"))
    assert verify(run) == [Disagreement("SHA256SUMS", "does not match the hashes in run_manifest.json")]
    (run / "SHA256SUMS").unlink()
    assert verify(run) == [Disagreement("SHA256SUMS", "is missing: a run ends by writing it")]


def test_a_number_in_the_manifest_stands_in_the_seal(run: Path) -> None:
    _manifest(lambda manifest: manifest.update(peak_memory_bytes=2000))(run)
    assert verify(run) == [
        Disagreement("SHA256SUMS", "does not match the hashes in run_manifest.json"),
        Disagreement("run_manifest.json", "differs from its hash in SHA256SUMS"),
    ]


def test_a_thousand_predictions_are_verified_in_three_seconds(
    tmp_path: Path, claim_run: Callable[..., RunDirectory], fill_run: Callable[..., None]
) -> None:
    run = claim_run(tmp_path / "run", resamples=10_000)
    fill_run(run, base=200, trained=700, of=1000)
    run.complete()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", "tunix_exp", "verify", str(run.root)],
        capture_output=True,
        text=True,
        check=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.stdout == f"{run.root}: verified\n"
    # of the processor and not by the clock, which counts what else the machine does
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 3


def test_a_file_that_came_later_is_named(run: Path) -> None:
    (run / "checkpoints" / "notes").write_text("x")
    assert verify(run) == [Disagreement("checkpoints/notes", "is not in the manifest: it came later")]


def test_a_manifest_that_is_missing_or_broken_is_named(run: Path) -> None:
    (run / "run_manifest.json").write_text("{}")
    assert _says(verify(run), "run_manifest.json", "does not follow its schema")
    (run / "run_manifest.json").write_bytes(b"\xff")
    assert verify(run) == [Disagreement("run_manifest.json", "is not UTF-8 (byte 0)")]
    (run / "run_manifest.json").unlink()
    assert _says(verify(run), "run_manifest.json", "is missing: no run has claimed")


def test_a_running_directory_says_one_thing(run: Path) -> None:
    _manifest(lambda manifest: manifest.update(status="running"))(run)
    (run / "metrics.jsonl").unlink()
    assert verify(run) == [
        Disagreement("run_manifest.json", "the run did not finish: its status is still `running`")
    ]


@pytest.mark.parametrize("status", ["failed", "interrupted"])
def test_a_run_cannot_be_called_otherwise_without_an_error_record(run: Path, status: str) -> None:
    _manifest(lambda manifest: manifest.update(status=status))(run)
    assert _says(verify(run), "run_manifest.json", f"`error` is null, but the run is `{status}`")


def test_a_failed_run_cannot_be_called_completed(
    tmp_path: Path, claim_run: Callable[..., RunDirectory]
) -> None:
    run = claim_run(tmp_path / "run")
    run.fail("train", ValueError("no"), analysis="text")
    _manifest(lambda manifest: manifest.update(status="completed"))(run.root)
    found = verify(run.root)
    assert _says(found, "run_manifest.json", "`error` is not null")
    assert _says(found, "metrics.jsonl", "is missing in a completed run")


@pytest.mark.parametrize("status", ["failed", "interrupted"])
@pytest.mark.parametrize(
    "text",
    [
        "data: 12 of 12 rows of success, 6 held-out items",
        "completed and verified: everything",
        "step 3: loss 0.0001, 640 tokens/s",
        "interrupted (training): failed",
    ],
)
def test_no_word_of_the_log_decides_how_a_run_ended(
    tmp_path: Path, claim_run: Callable[..., RunDirectory], text: str, status: str
) -> None:
    run = claim_run(tmp_path / "run")
    run.log.say(text)
    if status == "failed":
        run.fail("train", ValueError("success"), analysis="completed successfully")
    else:
        run.interrupt("train", ValueError("success"))
    assert verify(run.root) == []
    assert run.manifest.status == status


def test_figures_that_another_machine_rounds_otherwise_hold_and_others_do_not(run: Path) -> None:
    file = run / "eval_summary.json"
    summary = json.loads(file.read_text())
    kept = summary["comparison"]["heldout_loss"]["interval_95"]
    for factor, holds in ((1 + 2**-50, True), (1 + 2**-20, False)):
        summary["comparison"]["heldout_loss"]["interval_95"] = [end * factor for end in kept]
        file.write_text(json.dumps(summary))
        found = [one for one in verify(run) if "is not what the predictions and losses give" in one.what]
        assert (found == []) == holds


def test_a_failed_run_needs_its_analysis_and_keeps_its_files(
    tmp_path: Path, claim_run: Callable[..., RunDirectory]
) -> None:
    run = claim_run(tmp_path / "run")
    run.fail("train", ValueError("no"), analysis="text")
    (run.root / "failure_analysis.md").unlink()
    (run.root / "plan.json").write_text('{"parameters": 11}\n')
    found = verify(run.root)
    assert _says(found, "failure_analysis.md", "is missing in a failed run")
    assert _says(found, "plan.json", "differs from its hash")


@pytest.mark.parametrize("status", ["failed", "interrupted"])
def test_the_evidence_of_a_run_that_did_not_complete_may_hold_and_its_status_is_told_with_that(
    tmp_path: Path, claim_run: Callable[..., RunDirectory], capsys: pytest.CaptureFixture[str], status: str
) -> None:
    run = claim_run(tmp_path / "run")
    if status == "failed":
        run.fail("train", ValueError("no"), analysis="text")
    else:
        run.interrupt("train", Interrupted("stopped after step 7"))
    assert verb.main([str(run.root)]) == 0
    assert capsys.readouterr().out == f"{run.root}: verified; its status is {status}\n"


def test_a_resumed_run_holds_the_steps_after_its_checkpoint(run: Path) -> None:
    def begin_at_12(rows: list[dict[str, Any]]) -> None:
        del rows[:3]
        before: Any = {**UNSEEN, "step": 12}
        for row in rows:
            row |= {key: row[key] * (row["step"] - 12) / row["step"] for key in UNSEEN if key != "step"}
            row |= pace(row, before)
            before = row
        whole = pace(before, {**UNSEEN, "step": 12}) | {"model_flops_per_s": 5000.0}
        changed = {"resumed_from": {"run_id": "toy-0", "step": 12}}
        changed |= {"tokens_per_s": whole.pop("tokens_per_s"), "throughput": whole}
        _manifest(lambda manifest: manifest.update(changed))(run)

    _rows("metrics.jsonl", begin_at_12)(run)
    _rows("heldout.jsonl", lambda rows: rows.pop(0))(run)
    reseal(run)
    assert {one.file for one in verify(run)} == {"tensorboard/"}


def test_a_directory_of_runs_is_verified_run_by_run(
    tmp_path: Path,
    completed_run: Path,
    claim_run: Callable[..., RunDirectory],
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(completed_run, tmp_path / "sweep" / "0")
    inner = claim_run(tmp_path / "sweep" / "1").path("checkpoints/5/copy")
    shutil.copytree(completed_run, inner)  # inside a run, not a run of the sweep
    (tmp_path / "sweep" / "2" / ".hydra").mkdir(parents=True)
    (tmp_path / "sweep" / "multirun.yaml").write_text("")
    assert verb.main([str(tmp_path)]) == 1
    says = [line for line in capsys.readouterr().out.splitlines() if not line.startswith(" ")]
    sweep = tmp_path / "sweep"
    assert says == [
        f"{sweep}/0: verified", f"{sweep}/1: 1 disagreement", f"{sweep}/2: 1 disagreement"
    ]  # fmt: skip
    assert verb.main([f"{sweep}/0"]) == 0


@pytest.mark.parametrize("name", ["empty", "missing"])
def test_a_place_without_runs_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="there is no run directory at or below the path") as caught:
        verb.main([str(tmp_path / name)])
    assert "outputs/NAME" in str(caught.value.remedy)


def test_a_run_directory_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no run directory"):
        verify(tmp_path / "nowhere")


def test_evidence_loads_nothing_heavy() -> None:
    script = """
import pkgutil, sys, importlib
import tunix_exp.evidence as package
names = [module.name for module in pkgutil.walk_packages(package.__path__, "tunix_exp.evidence.")]
for name in names:
    importlib.import_module(name)
heavy = {"jax", "flax", "transformers", "datasets", "matplotlib", "scipy", "tensorboardX", "numpy"}
print(len(names) >= 35, sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "True []\n"
