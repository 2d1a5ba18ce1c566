"""Which generator makes which bundled set, and how rows become bytes."""

import hashlib
import json
from collections.abc import Callable, Iterable
from typing import Any

from tunix_exp.data.generators import awareness, checked, dev_reasoning, golden, held_out, nano

Rows = list[dict[str, Any]]

SETS: dict[str, Callable[[], Rows]] = {
    "nano-reasoning": nano.train_rows,
    "nano-eval": nano.eval_rows,
    "nano-checks": checked.nano_rows,
    "nano-checks-eval": checked.nano_items,
    "nano-slips": awareness.nano_rows,
    "nano-slips-eval": awareness.nano_items,
    "golden-v1": golden.v1_rows,
    "golden-v2": golden.v2_rows,
    "dev-reasoning-v1": dev_reasoning.v1_rows,
    "dev-reasoning-v2": dev_reasoning.v2_rows,
    "dev-checks": checked.dev_rows,
    "dev-slips": awareness.dev_rows,
    "dev-slips-eval": awareness.dev_items,
    "eval-v1": held_out.v1_rows,
    "eval-v2": held_out.v2_rows,
}


def as_bytes(rows: Iterable[dict[str, Any]]) -> bytes:
    """The rows as JSON lines: UTF-8, LF, fields in their order."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def files() -> dict[str, bytes]:
    """Every shipped file by its name, the list of hashes (as sha256sum writes it) included."""
    made = {f"{name}.jsonl": as_bytes(make()) for name, make in SETS.items()}
    hashes = "".join(f"{hashlib.sha256(made[name]).hexdigest()}  {name}\n" for name in sorted(made))
    return {**made, "SHA256SUMS": hashes.encode()}
