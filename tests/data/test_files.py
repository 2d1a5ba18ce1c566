import hashlib
import json
import os
import sys
from types import ModuleType

import datasets
import huggingface_hub
import pyarrow
import pyarrow.parquet
import pytest

from tests.data.toys import data_config, fields
from tunix_exp.data import sources
from tunix_exp.data.files import bundled_names, digest, open_source
from tunix_exp.errors import UserError

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def refusal(source) -> str:
    with pytest.raises(UserError) as caught:
        digest(str(source), "data.source")
    return str(caught.value)


def row_refusal(path) -> str:
    with pytest.raises(UserError) as caught:
        sources.read(data_config(path))
    return str(caught.value)


def test_a_missing_file_suggests_its_neighbour(toy):
    path = toy({"q": "?"}, name="train.jsonl")
    message = refusal(path.with_name("trian.jsonl"))
    assert "does not exist — did you mean" in message
    assert "train.jsonl`?" in message
    assert "relative paths start where the command was typed" in message


def test_a_folder_is_refused_and_its_files_are_named(toy):
    path = toy({"q": "?"}, name="train.jsonl")
    assert "is a folder (it holds train.jsonl)" in refusal(path.parent)


def test_an_unknown_kind_of_file_is_refused(toy):
    message = refusal(toy("a,b", name="rows.xlsx"))
    assert "is of no kind that is read here" in message
    assert "name a file that ends in .jsonl, .ndjson, .json, .csv, .tsv" in message


def test_a_file_that_cannot_be_read_is_a_user_error(toy, monkeypatch):
    path = toy({"q": "?"})

    def refuse(self, mode):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.open", refuse)
    assert "cannot be read: Permission denied" in refusal(path)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("{}".encode("utf-16"), ":1 is UTF-16, not UTF-8"),
        (b'{}\n{"q": "\xe9"}', ":2 is not UTF-8: no character holds 0xe9 there"),
    ],
)
def test_other_encodings_are_refused_with_their_line(toy, content, text):
    message = refusal(toy(content))
    assert text in message
    assert "save the file as UTF-8" in message


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ('{"q": "1", "q": "2"}', "the field `q` stands twice"),
        ('{"q": NaN, "a": "x"}', "`q` is NaN, which is no number"),
        ("[" * 100_000, "the JSON is nested too deep"),
        ("[1, 2]", "the row is a list, not an object"),
        ('{"\\ud800": "1"}', r"the field `q` is missing; the row has \ud800"),
        ('{"q": "1", "q\\ud800": 1, "q\\ud800": 2}', r"the field `q\ud800` stands twice"),
    ],
)
def test_a_line_that_is_no_sound_object_is_refused(toy, line, text):
    assert text in row_refusal(toy(line, {"q": "?", "a": "x"}))


def test_an_unknown_bundled_set_names_the_known_ones():
    message = refusal("bundled:nano-evil")
    assert "did you mean `nano-eval`?" in message
    assert ", ".join(bundled_names()) in message


def test_random_examples_are_refused():
    assert "examples cannot be drawn at random" in refusal("random")


def test_a_bundled_set_is_read_by_name():
    opened = open_source("bundled:golden-v1", "data.source")
    assert [(part.name, part.stem) for part in opened.parts] == [("golden-v1.jsonl", "golden-v1")]


def test_parquet_rows_are_read_like_lines(tmp_path):
    path = tmp_path / "rows.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"q": ["1?", "2?"], "a": ["x", "y"], "r": [["s"], []]}), path)
    read = sources.read(data_config(path, reasoning="r"))
    assert [(row.id, row.question, row.steps, row.answer) for row in read] == [
        ("rows-000001", "1?", ("s",), "x"),
        ("rows-000002", "2?", (), "y"),
    ]
    assert read.facts.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_file_that_only_calls_itself_parquet_is_refused(toy):
    assert "cannot be read as Parquet" in refusal(toy("{}", name="rows.parquet"))


def test_a_hub_set_without_subset_and_split_is_refused():
    message = refusal(f"hub:org/set@{COMMIT}")
    assert "names neither subset nor split" in message
    assert f"hub:org/set@{COMMIT}#SUBSET/SPLIT" in message


def test_a_hub_set_is_loaded_by_its_commit(monkeypatch):
    asked = {}

    def load(repo, subset, *, split, revision):
        asked.update(repo=repo, subset=subset, split=split, revision=revision)
        return datasets.Dataset.from_list([{"q": "1?", "a": "x"}])

    monkeypatch.setattr(datasets, "load_dataset", load)
    read = sources.read(data_config(f"hub:org/set@{COMMIT}#main/train"))
    assert asked == {"repo": "org/set", "subset": "main", "split": "train", "revision": COMMIT}
    assert (read[0].place, read[0].id) == ("org/set#main/train:1", "set-000001")
    assert read.facts.revision == COMMIT
    assert read.facts.sha256 == hashlib.sha256(b'{"a": "x", "q": "1?"}\n').hexdigest()


def test_a_branch_of_the_hub_is_resolved_to_its_commit_first(monkeypatch):
    class Api:
        def dataset_info(self, repo, *, revision):
            assert (repo, revision) == ("org/set", "main")
            return type("Info", (), {"sha": COMMIT})()

    def load(repo, subset, *, split, revision):
        assert revision == COMMIT
        return datasets.Dataset.from_list([{"q": "1?", "a": "x"}])

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(datasets, "load_dataset", load)
    assert sources.read(data_config("hub:org/set@main#main/train")).facts.revision == COMMIT


def test_a_branch_without_a_commit_is_refused(monkeypatch):
    class Api:
        def dataset_info(self, repo, *, revision):
            return type("Info", (), {"sha": None})()

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    assert "LookupError: the Hub names no commit for main" in refusal("hub:org/set@main#main/train")


def test_a_hub_that_is_out_of_reach_is_a_user_error():
    message = refusal(f"hub:no-such-org/no-such-set@{COMMIT}#main/train")
    assert "cannot be loaded: " in message
    assert "check the names, the commit and the network" in message


def test_a_hub_set_that_is_not_one_table_is_refused(monkeypatch):
    monkeypatch.setattr(datasets, "load_dataset", lambda *words, **names: datasets.DatasetDict())
    assert "is not one table of rows but DatasetDict" in refusal(f"hub:org/set@{COMMIT}#main/train")


def test_local_lines_do_not_need_datasets(toy, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", ModuleType("absent"))
    assert len(sources.read_items(str(toy({"q": "1?", "a": "x"})), "auto", fields(), None)) == 1


def test_the_pointer_of_git_lfs_is_named_and_so_is_its_remedy(toy):
    for name in ("rows.jsonl", "rows.parquet"):
        message = refusal(toy("version https://git-lfs.github.com/spec/v1", "size 12", name=name))
        assert f"{name} is a Git LFS pointer" in message
        assert "git lfs pull" in message


def test_a_device_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "rows.jsonl")
    assert "is a device, not a file" in refusal(tmp_path / "rows.jsonl")


def test_an_id_and_a_category_are_texts_that_can_be_written(toy):
    for field, half in (("id", "i"), ("category", "c")):
        line = json.dumps({"q": "1", "a": "x", half: "\ud800"})
        with pytest.raises(UserError, match=f"`{half}` holds half a character"):
            sources.read(data_config(toy(line), **{field: half}))
