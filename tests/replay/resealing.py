"""Alter a run with care: the manifest is written anew, by the project's own writer, with fitting hashes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tunix_exp.evidence.layout import file_hashes
from tunix_exp.evidence.manifest import config_hash, parse_manifest
from tunix_exp.evidence.strict_json import json_text, read_json_object


def reseal(run: Path, change: Callable[[dict[str, Any]], object] = lambda manifest: None) -> None:
    """The manifest says what `change` makes of it, and has the hashes of the files as they are."""
    file = run / "run_manifest.json"
    plain = read_json_object(file, file=file.name)
    plain["config_hash"] = config_hash(read_json_object(run / "config.json", file="config.json"))
    plain["files"] = file_hashes(run)
    change(plain)
    text = json_text(plain, file=file.name)
    parse_manifest(text)
    file.write_text(text, encoding="utf-8")
