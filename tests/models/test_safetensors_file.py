import gc
import weakref

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tunix_exp.models.safetensors_file import Tensor, in_shards, write

VALUES = {
    "b": np.arange(6, dtype=np.float32).reshape(2, 3),
    "a": np.array([1.5, -2.0], ml_dtypes.bfloat16),
    "ä.long.name": np.zeros((3, 0), np.float32),
    "c": np.ones((4, 1, 2), np.float16),
}


def tensor(name, values):
    return Tensor(name, values.shape, values.dtype, lambda: values)


def test_a_file_is_byte_for_byte_what_the_library_writes(tmp_path):
    save_file(VALUES, tmp_path / "theirs", metadata={"format": "pt"})
    write(tmp_path / "ours", [tensor(name, values) for name, values in VALUES.items()])
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()


def test_values_are_cast_to_what_the_header_says_and_strides_do_not_matter(tmp_path):
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    write(tmp_path / "file", [Tensor("x", (3, 2), np.dtype(np.float16), lambda: values.T)])
    read = load_file(tmp_path / "file")["x"]
    assert read.dtype == np.float16
    np.testing.assert_array_equal(read, values.T)


def test_values_of_another_shape_than_the_header_says_are_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"x has shape \(3,\), its header says \(4,\)"):
        write(tmp_path / "file", [Tensor("x", (4,), np.dtype(np.float32), lambda: np.zeros(3, np.float32))])


def test_one_tensor_is_in_memory_at_a_time(tmp_path):
    alive = []

    def make():
        gc.collect()
        assert all(each() is None for each in alive)
        values = np.zeros(1000, np.float32)
        alive.append(weakref.ref(values))
        return values

    write(tmp_path / "file", [Tensor(str(n), (1000,), np.dtype(np.float32), make) for n in range(4)])
    assert len(alive) == 4


@pytest.mark.parametrize(
    ("limit", "parts"),
    [(100, ["a b c ä.long.name"]), (28, ["a b", "c ä.long.name"]), (1, ["a", "b", "c", "ä.long.name"])],
)
def test_shards_keep_the_limit_unless_one_tensor_exceeds_it(limit, parts):
    found = in_shards([tensor(name, values) for name, values in VALUES.items()], limit=limit)
    assert [" ".join(each.name for each in part) for part in found] == parts
