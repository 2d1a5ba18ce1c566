import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest

from tunix_exp.evidence.likeness import Likeness, compare, described, is_same, surroundings
from tunix_exp.evidence.manifest import RunManifest, parse_manifest

# of a line of metrics.jsonl, all that no clock decides
FIGURES = ["loss", "lr", "grad_norm", "tokens", "padded_tokens", "response_tokens"]


def manifest_of(run: Path, **changes: Any) -> RunManifest:
    plain = json.loads((run / "run_manifest.json").read_text())
    for key, value in changes.items():
        plain[key] = {**plain[key], **value} if isinstance(value, dict) and plain[key] else value
    return parse_manifest(json.dumps(plain))


@pytest.fixture
def other(tmp_path: Path, completed_run: Path) -> Path:
    """A copy of the completed run, to be altered."""
    return Path(shutil.copytree(completed_run, tmp_path / "other"))


def likeness(there: Path, here: Path, steps: int | None = None, **changes: Any) -> Likeness:
    if changes:
        (here / "run_manifest.json").write_text(manifest_of(here, **changes).model_dump_json())
    return compare(there, here, steps=steps)


def rewrite(file: Path, change: Any) -> None:
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    change(rows)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_a_run_is_identical_to_its_copy_in_every_number(completed_run: Path, other: Path) -> None:
    found = likeness(completed_run, other)
    assert found.is_identical
    assert found.surroundings == ()
    assert [part.name for part in found.series] == [*FIGURES, "held-out loss"]
    assert {part.name: part.steps for part in found.series}["loss"] == 5  # steps 1, 5, 10, 15, 20
    kinds = ("base predictions", "trained predictions", "base held-out losses", "trained held-out losses")
    assert [(part.name, part.items) for part in found.answers] == [(name, 6) for name in kinds]
    assert {"model.trained_weight_hash", "held-out loss, trained"} < {pair.name for pair in found.values}


def test_a_series_tells_its_first_differing_step_and_its_largest_difference(
    completed_run: Path, other: Path
) -> None:
    def nudge(rows: list[Any]) -> None:
        rows[2]["loss"] += 1e-9
        rows[4]["loss"] *= 1.5

    rewrite(other / "metrics.jsonl", nudge)
    found = likeness(completed_run, other)
    loss = next(part for part in found.series if part.name == "loss")
    assert not found.is_identical
    assert (loss.steps, loss.differing, loss.first_differing_step) == (5, 2, 10)
    assert loss.largest_relative == pytest.approx(1 / 3)
    assert loss.largest_absolute == pytest.approx(0.5 * 3.0 * 2.718281828 ** (-20 / 7))
    assert found.describe()[0].startswith("loss: 2 of 5 steps differ, the first is step 10; at most by 0.08")


def test_the_last_bit_of_a_loss_counts_and_the_clock_does_not(completed_run: Path, other: Path) -> None:
    rewrite(other / "metrics.jsonl", lambda rows: rows[0].update(tokens_per_s=1.0, time_s=99.0))
    assert likeness(completed_run, other).is_identical
    rewrite(other / "metrics.jsonl", lambda rows: rows[0].update(loss=math.nextafter(rows[0]["loss"], 9)))
    assert not likeness(completed_run, other).is_identical


def test_changed_answers_are_counted_and_named(completed_run: Path, other: Path) -> None:
    rewrite(other / "predictions/trained.jsonl", lambda rows: rows[1].update(output="?"))
    rewrite(other / "predictions/base.jsonl", lambda rows: rows.pop())
    base, trained, _, _ = likeness(completed_run, other).answers
    assert (base.items, base.missing, base.changed) == (6, 1, 0)
    assert (trained.missing, trained.changed, trained.changed_ids) == (0, 1, ("item-1",))
    assert described(trained) == "trained predictions: 1 of 6 differ (item-1)"
    assert described(base) == "base predictions: 1 of 6 missing"


def test_the_last_bit_of_one_item_s_loss_counts(completed_run: Path, other: Path) -> None:
    rewrite(
        other / "heldout/base.jsonl", lambda rows: rows[3].update(nats=math.nextafter(rows[3]["nats"], 9))
    )
    found = likeness(completed_run, other)
    assert found.describe()[0] == "base held-out losses: 1 of 6 differ (item-3)"


def test_other_weights_are_told_by_both_hashes(completed_run: Path, other: Path) -> None:
    found = likeness(completed_run, other, model={"trained_weight_hash": "c" * 64})
    assert not found.is_identical
    assert found.describe()[0] == f"model.trained_weight_hash: original {'b' * 64}, replay {'c' * 64}"


def test_a_prefix_asks_for_steps_and_base_answers_alone(completed_run: Path, other: Path) -> None:
    rewrite(other / "metrics.jsonl", lambda rows: rows.__delitem__(slice(2, None)))
    rewrite(other / "heldout.jsonl", lambda rows: rows.clear())
    for gone in ("predictions/trained.jsonl", "heldout/trained.jsonl", "eval_summary.json"):
        (other / gone).unlink()
    found = likeness(completed_run, other, steps=8, model={"trained_weight_hash": None})
    assert found.is_identical
    assert {part.name: part.steps for part in found.series} == dict.fromkeys(FIGURES, 2)  # steps 1 and 5
    assert [part.name for part in found.answers] == ["base predictions", "base held-out losses"]
    # the held-out loss of step 8 is due in a run that goes on after it
    assert not likeness(completed_run, other, steps=9).is_identical
    assert not likeness(completed_run, other, steps=10).is_identical
    assert not likeness(completed_run, other).is_identical


def test_surroundings_are_told_one_by_one(completed_run: Path) -> None:
    there = manifest_of(completed_run, environment={"OMP_NUM_THREADS": "1", "JAX_COMPILATION_CACHE_DIR": "a"})
    here = manifest_of(
        completed_run,
        machine={"processor": "B", "cpu_flags": "avx2 avx512f", "threads": 9},
        versions={"python": "3.12", "jax": "0.10.2"},
        devices=["TPU_0"],
        platform="tpu",
        environment={"XLA_FLAGS": "--x"},
        code={"lock_sha256": "d" * 64},
    )
    told = [described(pair) for pair in surroundings(there, here) if not is_same(pair)]
    assert told == [
        "machine.cpu_flags, those that the other lacks: original (none), replay avx512f",
        f"code.lock_sha256: original None, replay {'d' * 64}",
        "devices: original ['cpu:0'], replay ['TPU_0']",
        "environment.OMP_NUM_THREADS: original 1, replay (none)",
        "environment.XLA_FLAGS: original (none), replay --x",
        "machine.processor: original A, replay B",
        "machine.threads: original 2, replay 9",
        "platform: original cpu, replay tpu",
        "versions.jax: original (none), replay 0.10.2",
        "versions.python: original 3.11, replay 3.12",
    ]
