"""Safetensors files, written tensor by tensor in the bytes that the safetensors library writes, and read.

The library itself wants all tensors of a file in memory at once, and tells of a damaged one in its own words.
"""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from safetensors import SafetensorError, safe_open

from tunix_exp import json_text
from tunix_exp.errors import UserError
from tunix_exp.json_text import BadJSON
from tunix_exp.models.weight_map import unchanged
from tunix_exp.received import AGAIN, shown, unreadable

_KINDS = {"float16": "F16", "bfloat16": "BF16", "float32": "F32"}
_ALIGNMENT = 8
_LENGTH = 8  # bytes that tell the header's
_MOST_HEADER = 10**8  # the library's own limit
_PIECE = 2**24
_BITS = {
    **dict.fromkeys(("F4",), 4),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 16),
    **dict.fromkeys(("U32", "I32", "F32"), 32),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 64),
}


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor to write: what its header says, and how its values are had when their turn comes."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    values: Callable[[], np.ndarray]

    @property
    def num_bytes(self) -> int:
        """How many bytes its values take."""
        return math.prod(self.shape) * self.dtype.itemsize


def in_order(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The tensors as a file has them: those of wider types first, then by name."""
    return sorted(tensors, key=lambda tensor: (-tensor.dtype.itemsize, tensor.name))


def write(file: Path, tensors: Sequence[Tensor]) -> None:
    """`file` holds the tensors `in_order`; one is in memory at a time."""
    ordered = in_order(tensors)
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for tensor in ordered:
        begin, end = end, end + tensor.num_bytes
        header[tensor.name] = {
            "dtype": _KINDS[tensor.dtype.name],
            "shape": list(tensor.shape),
            "data_offsets": [begin, end],
        }
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    with file.open("xb") as stream:
        stream.write(len(text).to_bytes(8, "little"))
        stream.write(text)
        for tensor in ordered:
            _put(tensor, stream)


def _put(tensor: Tensor, stream: BinaryIO) -> None:
    # A function of its own, lest one tensor's values live until the next one's are there.
    values = np.ascontiguousarray(tensor.values(), tensor.dtype)
    if values.shape != tensor.shape:
        raise ValueError(f"{tensor.name} has shape {values.shape}, its header says {tensor.shape}")
    stream.write(values.reshape(-1).view(np.uint8).data)


@dataclass(frozen=True, slots=True)
class Stored:
    """A stored tensor: its file, its name there, what the header says of it, and where its bytes begin.

    Its values are what `then` makes of those that are stored, and of the shape that is said here.
    """

    file: Path
    name: str
    shape: tuple[int, ...]
    dtype: str
    begin: int
    then: Callable[[np.ndarray], np.ndarray] = unchanged

    def values(self) -> np.ndarray:
        """All of it, on the host; the file is mapped for this one alone, else what was read would stay."""
        try:
            with safe_open(self.file, framework="numpy") as file:
                return self.then(file.get_tensor(self.name))
        except (OSError, SafetensorError) as error:
            raise UserError(
                f"{self.name} cannot be read: {error}", where=str(self.file), remedy=AGAIN
            ) from error

    def mapped(self) -> np.ndarray:
        """The same, read where it is looked at; all of it at once where it is made of what is stored."""
        if self.then is not unchanged or not math.prod(self.shape):
            return self.values()
        kind = next(name for name, kind in _KINDS.items() if kind == self.dtype)
        try:
            return np.memmap(self.file, kind, "r", offset=self.begin, shape=self.shape)
        except OSError as error:
            raise unreadable(self.file, error) from error

    def equals(self, other: "Stored") -> bool:
        """Whether the two hold the same values; read piece by piece, as far as they are the same."""
        if (self.shape, self.dtype) != (other.shape, other.dtype):
            return self.shape == other.shape and np.array_equal(self.values(), other.values())
        size = math.prod(self.shape) * _BITS[self.dtype] // 8
        try:
            with self.file.open("rb") as ours, other.file.open("rb") as theirs:
                ours.seek(self.begin)
                theirs.seek(other.begin)
                pieces = (min(_PIECE, size - done) for done in range(0, size, _PIECE))
                return all(ours.read(piece) == theirs.read(piece) for piece in pieces)
        except OSError as error:
            raise unreadable(self.file, error) from error


def stored(file: Path) -> list[Stored]:
    """The tensors that `file` holds, by its header, to the last byte; raises UserError for anything else."""
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(_LENGTH), "little")
            if size == 0:
                raise _broken(file, "it is empty")
            if size < _LENGTH or length > size - _LENGTH:
                follow = max(size - _LENGTH, 0)
                raise _broken(file, f"its header is said to take {length} bytes, and {follow} follow")
            if length > _MOST_HEADER:
                raise _broken(file, f"its header is said to take {length} bytes")
            text = stream.read(length)
    except OSError as error:
        raise unreadable(file, error) from error
    try:
        header = json_text.parse(text.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise _broken(file, f"its header is not UTF-8 (byte {_LENGTH + error.start})") from error
    except BadJSON as fault:
        raise _broken(file, f"its header {fault.what}") from fault
    if not isinstance(header, dict) or not text.startswith(b"{"):
        raise _broken(file, f"its header is {shown(header)}, not an object")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _broken(file, "its header's __metadata__ is not an object of texts")
    spans = sorted((_span(file, name, entry), name) for name, entry in header.items())
    end = 0
    for (begin, stop), name in spans:
        if begin != end:
            what = (
                "overlaps the tensor before it" if begin < end else "does not begin where the last one ends"
            )
            raise _broken(file, f"{shown(name)} {what} (byte {_LENGTH + length + begin})")
        end = stop
    if end != size - _LENGTH - length:
        follow = size - _LENGTH - length
        raise _broken(file, f"its tensors are said to take {end} bytes, and {follow} follow")
    return [
        Stored(file, name, tuple(entry["shape"]), entry["dtype"], _LENGTH + length + entry["data_offsets"][0])
        for name, entry in header.items()
    ]


def _span(file: Path, name: str, entry: Any) -> tuple[int, int]:
    """The bytes that a tensor's header names, which are as many as its type and shape take."""
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise _broken(file, f"the header of {shown(name)} is {shown(entry)}")
    kind, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not _are_counts(shape) or not _are_counts(offsets) or len(offsets) != 2:
        raise _broken(file, f"the header of {shown(name)} is {shown(entry)}")
    if not isinstance(kind, str) or kind not in _BITS:
        raise UserError(
            f"{shown(name)} is stored as {shown(kind)}, a type that is not known",
            where=str(file),
            remedy="store the weights in float32, bfloat16 or float16",
        )
    begin, end = offsets
    if (end - begin) * 8 != math.prod(shape) * _BITS[kind]:
        raise _broken(file, f"{shown(name)}, {kind}{shape}, is said to lie at bytes {begin} to {end}")
    return begin, end


def _are_counts(value: Any) -> bool:
    return isinstance(value, list) and all(type(item) is int and 0 <= item < 2**63 for item in value)


def _broken(file: Path, what: str) -> UserError:
    return UserError(f"{file.name} is no whole safetensors file: {what}", where=str(file), remedy=AGAIN)
