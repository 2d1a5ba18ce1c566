import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from tunix_exp.errors import UserError
from tunix_exp.models.families.gpt2.names import GPT2_NAMES
from tunix_exp.models.stored import INDEX, tensors, weight_files

FILES = {"one.safetensors": ["a", "b"], "two.safetensors": ["c"]}
WHERE = {name: file for file, names in FILES.items() for name in names}


def sharded(folder, index):
    for file, names in FILES.items():
        save_file({name: np.zeros(2, np.float32) for name in names}, folder / file)
    (folder / INDEX).write_text(json.dumps(index))
    return folder


def refusal(folder):
    with pytest.raises(UserError) as caught:
        tensors(weight_files(folder), GPT2_NAMES)
    assert caught.value.where
    assert caught.value.remedy
    return str(caught.value)


def test_shards_are_those_of_the_index(tmp_path):
    found = tensors(weight_files(sharded(tmp_path, {"metadata": {}, "weight_map": WHERE})), GPT2_NAMES)
    assert {name: tensor.file.name for name, tensor in found.items()} == WHERE


@pytest.mark.parametrize(
    ("index", "says"),
    [
        ([1], "holds a list, not a JSON object"),
        ({"metadata": {}}, "has no weight_map"),
        ({"weight_map": ["a"]}, "is a list, not an object"),
        ({"weight_map": {}}, "the weight_map of model.safetensors.index.json is empty"),
        ({"weight_map": WHERE | {"a": 1}}, "says that 'a' lies in 1, which is not the name of a file beside"),
        ({"weight_map": WHERE | {"a": "../outside.safetensors"}}, "lies in '../outside.safetensors', which"),
        ({"weight_map": WHERE | {"a": "/etc/passwd"}}, "lies in '/etc/passwd', which is not"),
        ({"weight_map": WHERE | {"a": ".."}}, "lies in '..', which is not"),
        ({"weight_map": WHERE | {"a": ""}}, "lies in '', which is not"),
        (
            {"weight_map": WHERE | {"a": "six.safetensors"}},
            "names files that are not there: 'six.safetensors'",
        ),
        (
            {"weight_map": WHERE | {"d": "two.safetensors"}},
            "'d' is not in 'two.safetensors', where the index",
        ),
        (
            {"weight_map": WHERE | {"a": "two.safetensors"}},
            "'a' is not in 'two.safetensors', where the index",
        ),
        (
            {"weight_map": {"a": "one.safetensors", "c": "two.safetensors"}},
            "'b' is in 'one.safetensors', and the index does not say so",
        ),
    ],
)
def test_an_index_that_is_none_or_names_other_tensors_than_its_files_is_refused(tmp_path, index, says):
    assert says in refusal(sharded(tmp_path, index))


def test_a_shard_that_is_a_folder_or_leads_away_is_refused(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    sharded(folder, {"weight_map": WHERE})
    (folder / "two.safetensors").rename(tmp_path / "two.safetensors")
    (folder / "two.safetensors").symlink_to(tmp_path / "two.safetensors")
    assert "two.safetensors is a link that leads out of the folder" in refusal(folder)
    (folder / "two.safetensors").unlink()
    (folder / "two.safetensors").mkdir()
    assert "two.safetensors is a folder, not a file" in refusal(folder)


def test_one_file_beside_an_index_leaves_it_open_which_is_meant(tmp_path):
    sharded(tmp_path, {"weight_map": WHERE})
    (tmp_path / "one.safetensors").rename(tmp_path / "model.safetensors")
    assert "holds both model.safetensors and model.safetensors.index.json" in refusal(tmp_path)
