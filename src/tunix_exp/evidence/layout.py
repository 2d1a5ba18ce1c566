"""Which files a run directory must hold, by status and mode, and the hash of each."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from tunix_exp.evidence.manifest import Mode, Status

MANIFEST = "run_manifest.json"
SUMS = "SHA256SUMS"
README = "README.md"
CONFIG = "config.json"
LOG = "training_log.txt"
METRICS = "metrics.jsonl"
HELDOUT = "heldout.jsonl"
DATA_CARD = "data_card.json"
PLAN = "plan.json"
BASE_PREDICTIONS = "predictions/base.jsonl"
TRAINED_PREDICTIONS = "predictions/trained.jsonl"
BASELINE_PREDICTIONS = "predictions/baseline.jsonl"
BASE_LOSSES = "heldout/base.jsonl"
TRAINED_LOSSES = "heldout/trained.jsonl"
EVAL_SUMMARY = "eval_summary.json"
BASE_HARNESS = "harness/base.json"
TRAINED_HARNESS = "harness/trained.json"
BASE_SAMPLES = "harness/base.jsonl"
TRAINED_SAMPLES = "harness/trained.jsonl"
HARNESS_SUMMARY = "harness_summary.json"
CURVES = "curves.png"
REPORT = "report.html"
FAILURE_ANALYSIS = "failure_analysis.md"
SOURCE_PATCH = "source.patch"
LOCK = "uv.lock"
REPLAY = "replay.json"
DEFAULTS = ".hydra/defaults.json"
COMPOSED = (".hydra/config.yaml", ".hydra/overrides.yaml", ".hydra/hydra.yaml", DEFAULTS)
TENSORBOARD = "tensorboard/"
CHECKPOINTS = "checkpoints/"
EXPORT = "export/"
# What each form of `training.export` leaves, at the least.
EXPORTED = {
    "hf": frozenset({f"{EXPORT}hf/{name}" for name in ("config.json", "generation_config.json", README)}),
    "peft": frozenset(
        {f"{EXPORT}peft/{name}" for name in ("adapter_config.json", "adapter_model.safetensors", README)}
    ),
}

# A name that ends in a slash is a folder with at least one file in it.
_ALWAYS = frozenset(
    {
        MANIFEST,
        LOG,
        CONFIG,
        *COMPOSED,
        "env_info.txt",
        "device_check.txt",
        PLAN,
        README,
        REPORT,
    }
)
_DATA = frozenset({DATA_CARD, "example.txt", TENSORBOARD})
_TRAINING = frozenset({METRICS, CHECKPOINTS, CURVES})
_BASE_EVAL = frozenset({BASE_PREDICTIONS, BASE_LOSSES, EVAL_SUMMARY})
_TRAINED_EVAL = frozenset({TRAINED_PREDICTIONS, TRAINED_LOSSES})
_BASE_HARNESS = frozenset({BASE_HARNESS, BASE_SAMPLES, HARNESS_SUMMARY})
_TRAINED_HARNESS = frozenset({TRAINED_HARNESS, TRAINED_SAMPLES})

# Whose questions a run asks: a set of items, the harness's tasks, or nobody's.
Asks = Literal["items", "harness", "none"]

REQUIRED_WHEN_COMPLETED: dict[Mode, frozenset[str]] = {
    "full": _ALWAYS | _DATA | _TRAINING | _BASE_EVAL | _TRAINED_EVAL,
    "smoke": _ALWAYS | _DATA | _TRAINING | _BASE_EVAL | _TRAINED_EVAL,
    "eval": _ALWAYS | _DATA | _BASE_EVAL,
    "preflight": _ALWAYS,
}
_ITEMS_EVAL = _BASE_EVAL | _TRAINED_EVAL

# These claim that something was trained or scored; where the mode does neither, they may not lie there.
_CLAIMS = _TRAINING | _ITEMS_EVAL | _BASE_HARNESS | _TRAINED_HARNESS | {HELDOUT}


def required_files(status: Status, mode: Mode, *, asks: Asks, took_no_step: bool = False) -> frozenset[str]:
    """The files without which a run of this status and mode is not whole.

    One that went on after the last step has no curves: there is no step to draw, and `METRICS` is empty.
    """
    if status == "failed":
        return frozenset({MANIFEST, LOG, FAILURE_ANALYSIS})
    if status in ("running", "interrupted"):
        return frozenset({MANIFEST, LOG})
    required = REQUIRED_WHEN_COMPLETED[mode] - ({CURVES} if took_no_step else frozenset())
    match asks:
        case "items":
            return required
        case "none":
            return required - _ITEMS_EVAL
        case "harness":
            asked = _BASE_HARNESS if required & _BASE_EVAL else frozenset()
            asked_again = _TRAINED_HARNESS if required & _TRAINED_EVAL else frozenset()
            return (required - _ITEMS_EVAL) | asked | asked_again


def forbidden_files(status: Status, mode: Mode, *, asks: Asks, took_no_step: bool = False) -> frozenset[str]:
    """The files that a run of this status and mode cannot have made."""
    if status != "completed":
        return frozenset()
    trains = METRICS in REQUIRED_WHEN_COMPLETED[mode]
    claims = _CLAIMS - {HELDOUT} if trains else _CLAIMS
    required = required_files(status, mode, asks=asks, took_no_step=took_no_step)
    return (claims - required) | {FAILURE_ANALYSIS}


def files_of(root: Path) -> list[str]:
    """Every file below `root` but the manifest and the seal, by its relative path with `/`, sorted."""
    found = []
    for folder, _, names in os.walk(root):
        found += [(Path(folder) / name).relative_to(root).as_posix() for name in names]
    return sorted(name for name in found if name not in (MANIFEST, SUMS))


def has_file(name: str, files: set[str]) -> bool:
    """Whether `files` hold `name`; a folder counts when something lies in it."""
    return any(file.startswith(name) for file in files) if name.endswith("/") else name in files


def file_digest(path: Path) -> str:
    """The sha256 of the file's raw bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def file_hashes(root: Path) -> dict[str, str]:
    """The sha256 of every file below `root` but the manifest and the seal, by its relative path."""
    return {name: file_digest(root / name) for name in files_of(root)}


def sums_text(hashes: Mapping[str, str]) -> str:
    """The hashes by file as `sha256sum --check` reads them."""
    return "".join(f"{hashes[name]}  {name}\n" for name in sorted(hashes))


def drawn_from(root: Path) -> str:
    """The files below `root` that `curves.png` shows, and one hash of them all."""
    names = [name for name in (METRICS, HELDOUT, EVAL_SUMMARY) if (root / name).exists()]
    whole = hashlib.sha256(sums_text({name: file_digest(root / name) for name in names}).encode())
    return f"{', '.join(names)}: {whole.hexdigest()}"
