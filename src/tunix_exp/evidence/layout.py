"""The files that every run has, and the hash of each."""

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

MANIFEST = "run_manifest.json"
SUMS = "SHA256SUMS"
CONFIG = "config.json"
LOG = "training_log.txt"


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


def hash_differences(
    listed: Mapping[str, str], found: Mapping[str, str], *, by: str
) -> Iterator[tuple[str, str]]:
    """Each file whose hash is not as it is `listed`, and how it differs; `by` names the list."""
    for name in sorted(listed.keys() | found.keys()):
        if name not in found:
            yield name, f"is missing: {by} has its hash"
        elif name not in listed:
            yield name, f"is not in {by}: it came later"
        elif found[name] != listed[name]:
            hashes = f"{found[name][:12]}… was found, {listed[name][:12]}… is recorded"
            yield name, f"differs from its hash in {by}: {hashes}"


def sums_text(hashes: Mapping[str, str]) -> str:
    """The hashes by file as `sha256sum --check` reads them."""
    return "".join(f"{hashes[name]}  {name}\n" for name in sorted(hashes))
