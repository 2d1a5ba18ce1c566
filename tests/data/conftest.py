"""Toy files."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def toy(tmp_path: Path) -> Callable[..., Path]:
    """Write a file of rows (objects become JSON, texts and bytes stay) and return its path."""

    def write(*rows: Any, name: str = "toy.jsonl") -> Path:
        path = tmp_path / name
        lines = [
            row if isinstance(row, bytes) else (row if isinstance(row, str) else json.dumps(row)).encode()
            for row in rows
        ]
        path.write_bytes(b"".join(line + b"\n" for line in lines))
        return path

    return write
