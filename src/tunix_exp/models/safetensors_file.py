"""Safetensors files written one tensor at a time, in the bytes that the safetensors library writes.

The library itself wants all tensors of a file in memory at once.
"""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

_KINDS = {"float16": "F16", "bfloat16": "BF16", "float32": "F32"}
_ALIGNMENT = 8


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


def write(file: Path, tensors: Sequence[Tensor]) -> None:
    """`file` holds the tensors, those of wider types first, then by name; one is in memory at a time."""
    ordered = sorted(tensors, key=lambda tensor: (-tensor.dtype.itemsize, tensor.name))
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


def in_shards(tensors: Sequence[Tensor], *, limit: int) -> list[list[Tensor]]:
    """The tensors by name, in as few parts of at most `limit` bytes as that order allows."""
    parts: list[list[Tensor]] = [[]]
    taken = 0
    for tensor in sorted(tensors, key=lambda tensor: tensor.name):
        if parts[-1] and taken + tensor.num_bytes > limit:
            parts.append([])
            taken = 0
        parts[-1].append(tensor)
        taken += tensor.num_bytes
    return parts
