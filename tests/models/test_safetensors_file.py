import json
import weakref

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tunix_exp.errors import UserError
from tunix_exp.models.safetensors_file import Tensor, stored, write

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
        assert all(each() is None for each in alive)
        values = np.zeros(1000, np.float32)
        alive.append(weakref.ref(values))
        return values

    write(tmp_path / "file", [Tensor(str(n), (1000,), np.dtype(np.float32), make) for n in range(4)])
    assert len(alive) == 4


def test_a_header_tells_every_tensor_and_where_it_lies(tmp_path):
    save_file(VALUES, tmp_path / "file")
    found = {tensor.name: tensor for tensor in stored(tmp_path / "file")}
    assert {name: (tensor.shape, tensor.dtype) for name, tensor in found.items()} == {
        "b": ((2, 3), "F32"),
        "a": ((2,), "BF16"),
        "ä.long.name": ((3, 0), "F32"),
        "c": ((4, 1, 2), "F16"),
    }
    content = (tmp_path / "file").read_bytes()
    for name, values in VALUES.items():
        begin = found[name].begin
        assert content[begin : begin + values.nbytes] == values.tobytes()
        np.testing.assert_array_equal(found[name].values(), values)


def test_two_stored_tensors_are_equal_by_their_values(tmp_path):
    values = np.arange(6, dtype=np.float32)
    halves = values.astype(np.float16)
    save_file({"a": values, "b": values.copy(), "c": values + 1, "d": halves}, tmp_path / "file")
    a, b, c, d = sorted(stored(tmp_path / "file"), key=lambda tensor: tensor.name)
    assert a.equals(b)
    assert a.equals(d)
    assert not a.equals(c)
    assert not d.equals(c)


def entry(dtype="F32", shape=(2,), begin=0, end=8):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


def written(file, header, data=b"\0" * 8, length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    file.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data)
    return file


BROKEN = {
    "empty": (None, b"", b"", "it is empty"),
    "cut in its length": (None, b"", b"abc", "its header is said to take 6513249 bytes, and 0 follow"),
    "of an absurd length": (2**62, b"{}", b"", "its header is said to take 4611686018427387904 bytes, and 2"),
    "cut in its header": (100, b"{}", b"", "its header is said to take 100 bytes, and 2 follow"),
    "no text": (None, b'{"\xff"}', b"", "its header is not UTF-8 (byte 10)"),
    "no JSON": (None, b"{", b"", "its header is not JSON"),
    "a tensor twice": (None, b'{"a": 1, "a": 2}', b"", "its header has the key `a` twice"),
    "a list": (None, b"[]", b"", "its header is [], not an object"),
    "odd metadata": (None, {"__metadata__": {"a": 1}}, b"", "__metadata__ is not an object of texts"),
    "an entry of another kind": (None, {"a": 1}, b"", "the header of 'a' is 1"),
    "an entry with less": (None, {"a": {"dtype": "F32"}}, b"", "the header of 'a' is {'dtype': 'F32'}"),
    "a shape of texts": (None, {"a": entry(shape=("2",))}, None, "the header of 'a' is {"),
    "a negative shape": (None, {"a": entry(shape=(-2, -1))}, None, "the header of 'a' is {"),
    "three offsets": (None, {"a": entry() | {"data_offsets": [0, 4, 8]}}, None, "the header of 'a' is {"),
    "other offsets than its shape": (None, {"a": entry(shape=(3,))}, None, "'a', F32[3], is said to lie at"),
    "overlapping": (None, {"a": entry(), "b": entry(begin=4, end=12)}, None, "'b' overlaps the tensor"),
    "with a gap": (None, {"a": entry(begin=8, end=16)}, None, "'a' does not begin where the last one ends"),
    "cut": (None, {"a": entry()}, b"1234567", "its tensors are said to take 8 bytes, and 7 follow"),
    "with more behind": (None, {"a": entry()}, b"123456789", "to take 8 bytes, and 9 follow"),
    "of an unknown type": (None, {"a": entry("I4", (16,))}, None, "'a' is stored as 'I4', a type that"),
}  # fmt: skip


@pytest.mark.parametrize(("length", "header", "data", "says"), BROKEN.values(), ids=BROKEN)
def test_a_file_that_is_not_whole_is_refused_with_what_is_wrong(tmp_path, length, header, data, says):
    file = tmp_path / "file"
    if header == b"" and data is not None:
        file.write_bytes(data)
    else:
        written(file, header, b"\0" * 8 if data is None else data, length)
    with pytest.raises(UserError) as caught:
        stored(file)
    assert says in caught.value.what
    assert caught.value.where == str(file)
    assert caught.value.remedy


def test_a_file_that_was_changed_after_its_header_was_read_is_refused(tmp_path):
    save_file(VALUES, tmp_path / "file")
    found = stored(tmp_path / "file")[0]
    (tmp_path / "file").write_bytes(b"{}")
    with pytest.raises(UserError, match="cannot be read"):
        found.values()
