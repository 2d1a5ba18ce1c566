"""A run on three sets of the user's own: made, verified, resumed, repeated, packed."""

import json
import shutil
from pathlib import Path

import pytest

from tests.resealing import reseal
from tests.running import TOY, bits, read_json, read_jsonl, run_toy
from tunix_exp import cli
from tunix_exp.evidence.verify import verify

CARD = "data_card.json"
SETS = {"notes": 4, "talks": 3, "sums": 1}
SHORT = ("data=mix", "data.max_rows=null", "training.steps=12", "eval=nano-eval")


def rows_of(name: str) -> list[dict]:
    """As many rows as the name has letters, times five, in a form of its own for each set."""
    match name:
        case "talks":
            said = ("user", "Say {}"), ("assistant", "{}")
            return [
                {"messages": [{"role": role, "content": text.format(n)} for role, text in said]}
                for n in range(25)
            ]
        case "sums":
            return [{"ask": f"Add {n} and {n}", "reply": 2 * n} for n in range(20)]
    return [{"question": f"Note {n}?", "answer": f"n{n}", "lang": "en" if n % 5 else "de"} for n in range(25)]


def mix(folder: Path) -> str:
    """The word of a config that names the three files in the folder."""
    more = {
        "notes": ",only:{lang:[en]}",
        "talks": ",format:messages",
        "sums": ",fields:{question:ask,answer:reply}",
    }
    parts = (
        f"{name}:{{source:'{folder}/{name}.jsonl',weight:{weight}{more[name]}}}"
        for name, weight in SETS.items()
    )
    return f"data.mix={{{','.join(parts)}}}"


@pytest.fixture(scope="module")
def own(tmp_path_factory) -> Path:
    """A run, and the files of its sets beside it."""
    folder = tmp_path_factory.mktemp("own")
    for name in SETS:
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows_of(name)))
    assert run_toy(folder / "run", *SHORT, mix(folder)) == 0
    return folder


def test_each_set_has_its_card_its_share_and_its_loss(own):
    card, manifest = read_json(own / "run" / CARD), read_json(own / "run" / "run_manifest.json")
    sets = card["train"]["sets"]
    kept = {"notes": 20, "talks": 25, "sums": 20}
    assert {name: one["statistics"]["rows_kept"] for name, one in sets.items()} == kept
    assert {name: one["rows"] for name, one in manifest["data"]["sets"].items()} == kept
    assert {name: one["weight"] for name, one in manifest["data"]["sets"].items()} == SETS
    assert manifest["data"]["rows"] == card["train"]["rows_read"] == card["statistics"]["rows_kept"] == 65
    assert sets["notes"]["counts"]["filtered_out"] == 5
    assert sets["sums"]["counts"] == {"numbers_as_text.answer": 20}
    assert sets["talks"]["fields"] == {"messages": "messages"}
    parts = card["batches"]["sets"]
    assert [part["share"] for part in parts.values()] == [0.5, 0.375, 0.125]
    assert parts["sums"]["steps_per_pass"] == 20 * 8 / 4 == card["batches"]["steps_per_epoch"]
    lines = read_jsonl(own / "run" / "metrics.jsonl")
    for name, weight in SETS.items():
        rows = [line[f"rows/{name}"] for line in lines]
        assert sum(rows) == 12 * 4 * weight / 8  # six whole periods
        assert [f"loss/{name}" in line for line in lines] == [count > 0 for count in rows]
    log = (own / "run" / "training_log.txt").read_text()
    assert "data.mix.notes: 20 of 25 rows of notes; learnt: response" in log
    assert "data.mix.sums: 20 numbers read as text in `reply`" in log
    assert "batches: talks: 37.5 % of the rows; its 25 are gone through in 16.7 steps" in log
    readme = (own / "run" / "README.md").read_text()
    assert "`mix`, a mixture of notes (50.0 %), talks (37.5 %), sums (12.5 %), 65 rows, sha256" in readme
    example = (own / "run" / "example.txt").read_text()
    assert all(f"example   {name}:{name}-000001" in example for name in ("talks", "sums"))
    assert "example   notes:notes-000002" in example
    assert verify(own / "run") == []


def test_it_goes_on_with_the_rows_that_would_have_come(own, tmp_path):
    words = (*SHORT, mix(own), "training.save_every_steps=5", "training.stop_at_step=5")
    assert run_toy(tmp_path / "cut", *words) == 130
    assert cli.main(["finish", str(tmp_path / "cut")]) == 0
    (finished,) = [place for place in tmp_path.iterdir() if place.name != "cut"]
    found, expected = bits(finished), bits(own / "run")
    assert found.pop("metrics") == expected.pop("metrics")[5:]
    assert found == expected


def test_a_held_out_question_is_found_in_whichever_set_it_stands(own, tmp_path):
    (tmp_path / "items.jsonl").write_text('{"question": "add 7 and  7", "answer": "14"}\n')
    items = ("eval=jsonl", f"eval.source={tmp_path / 'items.jsonl'}", "eval.max_items=null")
    assert run_toy(tmp_path / "run", *SHORT, *items, mix(own)) == 1
    says = read_json(tmp_path / "run" / "run_manifest.json")["error"]["message"]
    assert "1 of 65 training questions are held out" in says
    assert f"{own}/sums.jsonl:8 asks what" in says


def test_its_replay_has_the_same_bits_wherever_the_sets_lie_now(own, tmp_path, capsys):
    for name in SETS:
        shutil.copy(own / f"{name}.jsonl", tmp_path / f"{name}.jsonl")
    moved = [f"data.mix.{name}.source={tmp_path / f'{name}.jsonl'}" for name in SETS]
    assert cli.main(["replay", str(own / "run"), "--to", str(tmp_path / "again"), *moved]) == 0
    assert bits(tmp_path / "again") == bits(own / "run")
    (tmp_path / "sums.jsonl").write_text('{"ask": "Add 1 and 1", "reply": 2}\n')
    assert cli.main(["replay", str(own / "run"), "--to", str(tmp_path / "other"), *moved]) == 2
    said = capsys.readouterr().err
    assert "data.mix.sums.source" in said
    assert "sums.jsonl` has changed" in said


def test_its_archive_replays_without_the_place_that_it_came_from(own, tmp_path):
    archive = tmp_path / "run.tar"
    assert cli.main(["pack", str(own / "run"), "--out", str(archive), "--inputs"]) == 0
    hidden = own.rename(tmp_path / "hidden")
    try:
        assert cli.main(["replay", str(archive), "--to", str(tmp_path / "again"), "--steps", "1"]) == 0
        assert read_json(tmp_path / "again" / "replay.json")["is_identical"] is True
    finally:
        hidden.rename(own)


FORGERIES = {
    "another weight": (lambda card: card["train"]["sets"]["notes"].update(weight=5), "notes.source, weight"),
    "other bytes": (
        lambda card: card["train"]["sets"]["sums"].update(sha256="0" * 64),
        "sums.source, sha256",
    ),
    "fewer rows": (
        lambda card: card["train"]["sets"]["talks"]["statistics"].update(rows_kept=1),
        "talks.source, statistics.rows_kept",
    ),
    "a set left out": (lambda card: card["train"]["sets"].pop("talks"), "`train.sets` is"),
    "another whole": (lambda card: card["train"].update(sha256="0" * 64), "`train.sha256` is"),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_card_that_contradicts_its_mixture_is_named(own, tmp_path, forgery):
    change, says = FORGERIES[forgery]
    run = Path(shutil.copytree(own / "run", tmp_path / "run"))
    card = read_json(run / CARD)
    change(card)
    (run / CARD).write_text(json.dumps(card))
    reseal(run)
    assert any(one.file == CARD and says in one.what for one in verify(run))


LINES = {
    "a loss that is none of its sets'": (
        lambda line: line.update(loss=line["loss"] * 1.01),
        "those of its sets",
    ),
    "tokens of nowhere": (
        lambda line: line.update({"response_tokens/notes": line["response_tokens/notes"] + 1}),
        "and its sets have",
    ),
    "a set without its loss": (lambda line: line.pop("loss/notes"), "has no `loss/notes`"),
}


@pytest.mark.parametrize("forgery", LINES)
def test_figures_of_sets_that_contradict_those_of_the_batch_are_named(own, tmp_path, forgery):
    change, says = LINES[forgery]
    run = Path(shutil.copytree(own / "run", tmp_path / "run"))
    lines = read_jsonl(run / "metrics.jsonl")
    change(lines[3])
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    reseal(run)
    found = [one.what for one in verify(run) if one.file == "metrics.jsonl"]
    assert any("step 4" in what and says in what for what in found)


def test_its_sets_are_looked_at_one_by_one(own, capsys):
    assert cli.main(["data", *TOY, *SHORT, mix(own), "--rows", "1"]) == 0
    said = capsys.readouterr().out
    for name in SETS:
        assert f"{name}: training rows: {own}/{name}.jsonl" in said
        assert f"{name}: tokens per row" in said
    assert "sums: 12.5 % of the rows; its 20 are gone through in 40.0 steps" in said
    assert cli.main(["data", *TOY, *SHORT, mix(own), "--id", "sums:sums-000003", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert [row["id"] for row in facts["sums.rows"]] == ["sums:sums-000003"]
    assert "notes.rows" not in facts
    assert cli.main(["data", *TOY, *SHORT, mix(own), "--id", "sums-000003"]) == 2
    assert "in a mixture an id begins with its set: notes:, talks:, sums:" in capsys.readouterr().err
