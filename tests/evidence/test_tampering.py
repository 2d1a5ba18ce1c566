"""Every file of a real run altered in turn: verify fails and names the file, each time."""

import json
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.resealing import event_records, rehash, reseal, seal, write_board
from tests.running import read_json, read_jsonl
from tunix_exp.evidence.verify import verify

BOARD = "tensorboard/events.out.tfevents.run"
MANIFEST, SEAL = "run_manifest.json", "SHA256SUMS"
# Beside these there are the checkpoint's files, the records of stages, which have a test of their own, and
# source.patch where the checkout was changed.
TEXTS = {
    ".hydra/config.yaml", ".hydra/overrides.yaml", ".hydra/hydra.yaml", ".hydra/defaults.json",
    "config.json", "uv.lock", "report.html",
    MANIFEST, SEAL, "README.md", "training_log.txt", "metrics.jsonl", "heldout.jsonl",
    "data_card.json", "example.txt", "plan.json", "device_check.txt", "env_info.txt",
    "eval_summary.json", "heldout/base.jsonl", "heldout/trained.jsonl",
    "predictions/base.jsonl", "predictions/trained.jsonl",
}  # fmt: skip
OTHERS = {"curves.png", BOARD}
PREDICTIONS = ("predictions/base.jsonl", "predictions/trained.jsonl")
Alter = Callable[[Path, random.Random], None]


@pytest.fixture(scope="module")
def run(toy_run, tmp_path_factory) -> Path:
    return Path(shutil.copytree(toy_run, tmp_path_factory.mktemp("altered") / "run"))


def names(run: Path) -> list[str]:
    return sorted(path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file())


@contextmanager
def restored(run: Path, *altered: str) -> Iterator[None]:
    """The files are afterwards what they were before."""
    before = {name: (run / name).read_bytes() for name in altered}
    try:
        yield
    finally:
        for name, content in before.items():
            (run / name).write_bytes(content)


def missed(run: Path, files: list[str], alter: Alter, *, hashes: Callable[[Path], None] | None) -> list[str]:
    """The files whose alteration `verify` does not answer with their name."""
    found = []
    for name in files:
        with restored(run, name, MANIFEST, SEAL):
            before = (run / name).read_bytes()
            alter(run / name, random.Random(f"{alter.__name__} {name}"))
            assert (run / name).read_bytes() != before
            if hashes is not None:
                hashes(run)
            if name not in {one.file for one in verify(run)}:
                found.append(name)
    assert verify(run) == []
    return found


def flip_a_bit(file: Path, chance: random.Random) -> None:
    content = bytearray(file.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    file.write_bytes(bytes(content))


def remove_a_line(file: Path, chance: random.Random) -> None:
    lines = file.read_bytes().splitlines(keepends=True)
    del lines[chance.randrange(len(lines))]
    file.write_bytes(b"".join(lines))


def edit_a_number(file: Path, chance: random.Random) -> None:
    """Another digit; in the manifest not one of a hash, which is mended afterwards."""
    text = file.read_text(encoding="utf-8")
    until = text.index('"files": {\n    ".hydra') if file.name == MANIFEST else len(text)
    places = [match.start() for match in re.finditer(r"\d", text[:until])]
    at = chance.choice(places)
    file.write_text(
        f"{text[:at]}{(int(text[at]) + chance.randint(1, 9)) % 10}{text[at + 1 :]}", encoding="utf-8"
    )


def rehash_and_seal(run: Path) -> None:
    rehash(run)
    seal(run)


def with_a_number(run: Path) -> list[str]:
    return sorted(name for name in TEXTS if re.search(r"\d", (run / name).read_text()))


def test_the_run_has_the_files_that_are_altered_here(run):
    found = set(names(run))
    assert found >= TEXTS | OTHERS
    rest = found - TEXTS - OTHERS - {"source.patch"}
    assert rest
    assert all(name.startswith(("checkpoints/", "stages/")) for name in rest)


def test_an_unaltered_run_passes(run):
    assert verify(run) == []


def test_a_flipped_bit_is_named_in_every_file(run):
    files = [name for name in names(run) if (run / name).stat().st_size]
    assert len(files) >= 30
    assert missed(run, files, flip_a_bit, hashes=None) == []


def test_a_removed_line_is_named_in_every_text(run):
    assert missed(run, sorted(TEXTS), remove_a_line, hashes=None) == []


def test_an_edited_number_is_named_though_the_manifest_has_the_new_hash(run):
    files = [name for name in with_a_number(run) if name != SEAL]
    assert len(files) >= 18
    assert missed(run, files, edit_a_number, hashes=rehash) == []


def numbers(value: object, key: str = "") -> Iterator[tuple[str, float]]:
    """Every number in `value` with its key; of a list the first element speaks for all."""
    if isinstance(value, dict):
        for name, part in value.items():
            yield from numbers(part, f"{key}.{name}".lstrip("."))
    elif isinstance(value, list) and value:
        yield from numbers(value[0], f"{key}[0]")
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield key, value


def forged(value: object, key: str) -> None:
    """The number under `key` is another one of its type."""
    *path, leaf = [int(part) if part.isdigit() else part for part in key.replace("[0]", ".0").split(".")]
    for part in path:
        value = value[part]  # pyright: ignore[reportIndexIssue]
    value[leaf] += 1 + abs(value[leaf])  # pyright: ignore[reportIndexIssue]


@pytest.mark.parametrize(
    "name", ["metrics.jsonl", "heldout.jsonl", *PREDICTIONS, "heldout/base.jsonl", "heldout/trained.jsonl"]
)
def test_a_number_of_a_line_that_is_forged_contradicts_another_fact(run, name):
    lines = read_jsonl(run / name)
    found = dict(numbers(lines[-1]))
    assert found
    for key in found:
        with restored(run, name, MANIFEST, SEAL):
            changed = [dict(line) for line in lines]
            forged(changed[-1], key)
            (run / name).write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in changed))
            reseal(run)
            assert verify(run), key


def test_a_number_of_the_summary_that_is_forged_is_not_what_the_answers_give(run):
    name = "eval_summary.json"
    summary = read_json(run / name)
    found = dict(numbers(summary))
    assert len(found) > 30
    for key in found:
        with restored(run, name, MANIFEST, SEAL):
            changed = read_json(run / name)
            forged(changed, key)
            (run / name).write_text(json.dumps(changed, indent=2, ensure_ascii=False) + "\n")
            reseal(run)
            assert name in {one.file for one in verify(run)}, key


def test_a_page_and_a_log_are_drawn_from_the_facts_and_hold_none(run):
    for name in ("README.md", "report.html", "training_log.txt", "env_info.txt"):
        with restored(run, name, MANIFEST, SEAL):
            (run / name).write_text("the best of all runs\n")
            assert name in {one.file for one in verify(run)}
            reseal(run)
            assert verify(run) == []


def test_another_loss_on_the_board_is_named_though_every_checksum_is_right(run):
    from tensorboardX.proto.event_pb2 import Event

    with restored(run, BOARD, MANIFEST, SEAL):
        records = event_records(run)
        for place, record in enumerate(records):
            event = Event.FromString(record)
            if [value.tag for value in event.summary.value][:1] == ["loss"]:
                event.summary.value[0].simple_value *= 0.5
                records[place] = event.SerializeToString()
        write_board(run, records)
        rehash_and_seal(run)
        assert [(one.file, one.what) for one in verify(run)] == [
            ("tensorboard/", "the curve `loss` differs from metrics.jsonl")
        ]
    assert verify(run) == []


def test_another_set_than_the_shipped_one_is_named_though_card_and_manifest_agree(run):
    with restored(run, "data_card.json", BOARD, MANIFEST, SEAL):
        for name, part in (("data_card.json", "train"), (MANIFEST, "data")):
            value = read_json(run / name)
            value[part]["sha256"] = "0" * 64
            (run / name).write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
        reseal(run)
        found = verify(run)
    assert [one.file for one in found] == ["data_card.json"]
    assert re.match(r"`sha256` is '0{64}', but the bundled set says", found[0].what)


def test_an_item_made_easier_in_both_predictions_is_named(run):
    with restored(run, *PREDICTIONS, MANIFEST, SEAL):
        for name in PREDICTIONS:
            rows = read_jsonl(run / name)
            due, rows[0]["expected_answer"] = rows[0]["expected_answer"], "12345"
            (run / name).write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        reseal(run)
        found = [(one.file, one.what) for one in verify(run)]
    what = f"line 1: `expected_answer` is '12345', but bundled:nano-eval has {due!r}"
    record = "is not the file whose hash stages/{}_evaluation.json has"
    assert set(found) == {
        ("predictions/base.jsonl", what),
        *((f"predictions/{which}.jsonl", record.format(which)) for which in ("base", "trained")),
    }


def test_a_better_end_of_the_held_out_curve_is_named_by_the_items(run):
    with restored(run, "heldout.jsonl", BOARD, MANIFEST, SEAL):
        rows = read_jsonl(run / "heldout.jsonl")
        rows[-1]["loss_nats"] /= 2
        (run / "heldout.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        reseal(run)
        found = {one.file: one.what for one in verify(run)}
    said = found["heldout.jsonl"]
    assert said.startswith(f"ends with {rows[-1]['loss_nats']}, but heldout/trained.jsonl gives ")
    assert found.keys() == {"heldout.jsonl", "tensorboard/", "run_manifest.json"}


def test_the_seal_is_what_coreutils_check(run):
    done = subprocess.run(["sha256sum", "--check", "--quiet", SEAL], cwd=run, check=False)
    assert done.returncode == 0


def test_an_alteration_is_a_failure_of_the_command(run):
    with restored(run, "README.md"):
        (run / "README.md").write_text("# state of the art\n")
        done = subprocess.run(
            [sys.executable, "-m", "tunix_exp", "verify", str(run)],
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert "README.md: differs from its hash in the manifest" in done.stdout
