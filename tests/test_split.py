"""A run whose held-out items are a share of its own rows: made, verified, repeated, packed, measured."""

import json
import shutil
import tarfile
from pathlib import Path

import pytest

from tests.resealing import reseal
from tests.running import TOY, bits, read_json, read_jsonl, run_toy
from tunix_exp import cli
from tunix_exp.evidence.verify import verify

CARD = "data_card.json"
SPLIT = ("data=jsonl", "eval=split", "eval.share=0.3", "eval.max_items=null")
LINES = [
    {"question": f"{question} {number} + {number}?", "answer": str(2 * number)}
    for question in ("Add", "ADD ", "Sum of")
    for number in range(20)
]


@pytest.fixture(scope="module")
def own(tmp_path_factory) -> Path:
    """A run on a file of the user's own, `rows.jsonl` beside it."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in LINES))
    assert run_toy(folder / "run", *SPLIT, f"data.source={folder / 'rows.jsonl'}") == 0
    return folder


def test_it_trains_on_the_other_rows_and_scores_each_question_once(own):
    card, manifest = read_json(own / "run" / CARD), read_json(own / "run" / "run_manifest.json")
    train, items = card["train"], card["eval"]
    asked = [
        row["prompt"].strip().lower() for row in read_jsonl(own / "run" / "predictions" / "trained.jsonl")
    ]
    assert len(set(asked)) == len(asked) == items["rows_read"] == manifest["eval"]["rows"]
    repeated = items["counts"]["questions_of_earlier_items"]
    assert train["counts"]["held_out"] == items["rows"] == len(asked) + repeated
    assert repeated == sum(question.startswith("add") for question in asked) > 0
    assert manifest["data"]["rows"] == train["rows_read"] - items["rows"] == 60 - items["rows"]
    assert items["source"] == manifest["eval"]["source"] == "data"
    assert items["sha256"] == train["sha256"] == manifest["eval"]["sha256"] == manifest["data"]["sha256"]
    assert card["overlap"] == {"training_questions_held_out": 0, "allowed": False}
    log = (own / "run" / "training_log.txt").read_text()
    assert f"data: {items['rows']} rows held out for the evaluation" in log
    assert f"eval: {repeated} rows with the question of an earlier item, held out and not scored" in log
    assert verify(own / "run") == []


def test_its_replay_has_the_same_bits_wherever_the_rows_lie_now(own, tmp_path, capsys):
    moved = shutil.copy(own / "rows.jsonl", tmp_path / "rows.jsonl")
    words = ["replay", str(own / "run"), "--to", str(tmp_path / "again")]
    assert cli.main([*words, f"data.source={moved}"]) == 0
    assert bits(tmp_path / "again") == bits(own / "run")
    assert cli.main([*words, f"eval.source={moved}"]) == 2
    assert "the run's `eval.source` is data: it lies nowhere" in capsys.readouterr().err


def test_its_archive_replays_without_the_place_that_it_came_from(own, tmp_path):
    archive = tmp_path / "run.tar"
    assert cli.main(["pack", str(own / "run"), "--out", str(archive), "--inputs"]) == 0
    with tarfile.open(archive) as tar:
        inputs = [name.partition("/inputs/")[2] for name in tar.getnames() if "/inputs/" in name]
    assert inputs == ["data.source/rows.jsonl"]
    hidden = own.rename(tmp_path / "hidden")
    try:
        again = tmp_path / "again"
        assert cli.main(["replay", str(archive), "--to", str(again), "--steps", "1"]) == 0
        assert read_json(again / "replay.json")["is_identical"] is True
    finally:
        hidden.rename(own)


def test_it_is_finished_with_the_same_items(own, tmp_path):
    words = (*SPLIT, f"data.source={own / 'rows.jsonl'}", "training.save_every_steps=2")
    assert run_toy(tmp_path / "cut", *words, "training.stop_at_step=2") == 130
    assert cli.main(["finish", str(tmp_path / "cut")]) == 0
    (finished,) = [place for place in tmp_path.iterdir() if place.name != "cut"]
    for which in ("base", "trained"):
        file = f"predictions/{which}.jsonl"
        assert (finished / file).read_text() == (own / "run" / file).read_text()


@pytest.mark.parametrize(("share", "status", "says"), [("0.3", 0, None), ("0.4", 1, "answered other items")])
def test_it_is_measured_against_a_run_of_the_same_items_alone(own, tmp_path, share, status, says):
    baseline = (f"eval.baseline={own / 'run'}", "eval.baseline_tolerance_points=100")
    words = (*SPLIT, f"data.source={own / 'rows.jsonl'}", f"eval.share={share}", "mode=eval", *baseline)
    assert run_toy(tmp_path / "run", *words) == status
    manifest = read_json(tmp_path / "run" / "run_manifest.json")
    assert (says is None) if manifest["error"] is None else says in manifest["error"]["message"]


def test_its_evaluation_is_reused_for_the_same_rows_alone(own, tmp_path):
    recorded = []
    for number, words in enumerate(
        (("data.name=a",), ("data.name=a",), ("data.only={answer:['0','2','4']}",))
    ):
        folder = tmp_path / str(number)
        assert run_toy(folder, *SPLIT, f"data.source={own / 'rows.jsonl'}", "mode=eval", *words) == 0
        recorded.append(read_json(folder / "stages" / "base_evaluation.json")["inputs"]["config"])
    assert recorded[0] == recorded[1] != recorded[2]


FORGERIES = {
    "items of other bytes": (lambda card: card["eval"].update(hashed="rows"), "`eval.hashed` is 'rows'"),
    "another number held out": (
        lambda card: card["train"]["counts"].update(held_out=1),
        "`train.counts.held_out` says 1",
    ),
    "rows trained on that are held out": (
        lambda card: card["statistics"].update(rows_read=60),
        "the sum of the rows kept and held out says",
    ),
    "items left out": (
        lambda card: card["eval"]["counts"].update(questions_of_earlier_items=1),
        "`eval.rows_read` is",
    ),
    "no count": (lambda card: card["eval"].update(rows="all"), "`eval.rows` is 'all', not a count"),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_card_that_contradicts_its_split_is_named(own, tmp_path, forgery):
    change, says = FORGERIES[forgery]
    run = Path(shutil.copytree(own / "run", tmp_path / "run"))
    card = read_json(run / CARD)
    change(card)
    (run / CARD).write_text(json.dumps(card))
    reseal(run)
    found = verify(run)
    assert [one.file for one in found] == [CARD] * len(found)
    assert any(says in one.what for one in found)


def test_the_verb_data_shows_both_parts(own, capsys):
    words = ["data", *TOY, *SPLIT, f"data.source={own / 'rows.jsonl'}"]
    assert cli.main(words) == 0
    said = capsys.readouterr().out
    items = read_json(own / "run" / CARD)["eval"]
    assert f"\n  {items['rows']} rows held out for the evaluation\n" in said
    scored = f"{items['rows_read']} of {items['rows']} rows held out are scored"
    assert f"held-out items: of the training set\n  {scored}\n" in said
    assert cli.main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["held_out"]
    assert {"name": "split", **found} == {**items, "special_tokens": {"rows": 0, "names": {}}}
