"""That every file is there, unaltered, and readable, and the manifest follows its rules."""

import re
import struct
import zlib
from collections.abc import Iterator, Mapping

from tunix_exp.evidence import layout
from tunix_exp.evidence.board import HASHES_TAG, MANIFEST_TAG, read_manifest
from tunix_exp.evidence.manifest import AFTER_TESTIMONY, rule_breaches
from tunix_exp.evidence.opened import Disagreement, OpenedRun
from tunix_exp.evidence.strict_json import BrokenFile, read_text

_TEXT_SUFFIXES = (".txt", ".md", ".html", ".json", ".jsonl", ".yaml")
_PNG = b"\x89PNG\r\n\x1a\n"
_SUM = re.compile(r"([0-9a-f]{64})  (.+)")


def rules(run: OpenedRun) -> Iterator[Disagreement]:
    """The manifest knows what a run of its status must know."""
    for breach in rule_breaches(run.manifest, status=run.status):
        yield Disagreement(layout.MANIFEST, breach)


def presence(run: OpenedRun) -> Iterator[Disagreement]:
    """Every file that must be there is, and none that cannot."""
    mode = run.manifest.mode
    if mode is None:
        # only a config that was refused leaves this open: what lies there is what any failed run has
        mode = "full"
    nothing = run.manifest.took_no_step
    for name in sorted(layout.required_files(run.status, mode, asks=run.asks, took_no_step=nothing)):
        if not run.has(name):
            yield Disagreement(name, f"is missing in a {run.status} run of mode {mode}")
    for name in sorted(layout.forbidden_files(run.status, mode, asks=run.asks, took_no_step=nothing)):
        if run.has(name):
            yield Disagreement(name, f"cannot come from a {run.status} run of this mode and eval ({mode})")


def hashes(run: OpenedRun) -> Iterator[Disagreement]:
    """Every file has the hash that the manifest gives it."""
    if run.manifest.files is None:
        return  # a run that could not even read its files back; the rules know which may
    listed, present = run.manifest.files, run.files - {layout.MANIFEST}
    for name in sorted(listed.keys() - present):
        yield Disagreement(name, "is missing: the manifest has its hash")
    for name in sorted(present - listed.keys()):
        yield Disagreement(name, "is not in the manifest: it came after the run ended")
    for name in sorted(present & listed.keys()):
        if run.digests[name] != listed[name]:
            yield Disagreement(name, "differs from its hash in the manifest")


def seal(run: OpenedRun) -> Iterator[Disagreement]:
    """`SHA256SUMS` is what the manifest, its own hash included, makes it."""
    files = run.manifest.files
    if files is None or not run.is_sealed:
        return
    try:
        text = read_text(run.root / layout.SUMS, file=layout.SUMS)
    except FileNotFoundError:
        yield Disagreement(layout.SUMS, "is missing: a run ends by writing it")
        return
    if text == layout.sums_text({**files, layout.MANIFEST: run.digests[layout.MANIFEST]}):
        return
    yield Disagreement(layout.SUMS, f"is not what {layout.MANIFEST} and its hashes make it")
    found = [match for line in text.splitlines() if (match := _SUM.fullmatch(line))]
    yield from _differing(run, {match[2]: match[1] for match in found}, layout.SUMS)


def last_words(run: OpenedRun) -> Iterator[Disagreement]:
    """The manifest and the hash of every other file are what the board said of them at the end."""
    files = run.manifest.files
    if files is None:
        return
    said, tags = run.board.texts, (MANIFEST_TAG, HASHES_TAG)
    if any(tag not in said or len(said[tag]) != 1 for tag in tags):
        yield Disagreement(layout.TENSORBOARD, "does not say once what the files were when the run ended")
        return
    facts, listed = read_manifest(*(said[tag][0] for tag in tags))
    plain = run.manifest.model_dump(mode="json")
    for key in sorted(plain.keys() - AFTER_TESTIMONY | facts.keys()):
        if key not in facts or key not in plain or facts[key] != plain[key]:
            yield Disagreement(layout.MANIFEST, f"`{key}` is not what the board says")
    others = {name for name in files if not name.startswith(layout.TENSORBOARD)}
    if run.status == "failed" and layout.FAILURE_ANALYSIS not in listed:
        others -= {layout.FAILURE_ANALYSIS}  # where the run's own verifier failed, it comes after the board
    for name in sorted(others ^ listed.keys()):
        yield Disagreement(name, "is not both in the manifest and on the board")
    yield from _differing(run, listed, "the board")


def texts(run: OpenedRun) -> Iterator[Disagreement]:
    """Every text is UTF-8 and holds something, and JSON is JSON."""
    for name in sorted(run.files):
        path = run.root / name
        # what lies there is Orbax's own, empty files included, and the tokenizer's
        if name.startswith((layout.CHECKPOINTS, layout.EXPORT)) or path.suffix not in _TEXT_SUFFIXES:
            continue
        try:
            may_be_empty = name == layout.METRICS and run.manifest.took_no_step
            if not read_text(path, file=name).strip() and not may_be_empty:
                yield Disagreement(name, "is empty")
        except BrokenFile as broken:
            yield Disagreement(name, broken.what)
    for name in (layout.PLAN, layout.DATA_CARD):
        if run.has(name):
            run.json(name)


def picture(run: OpenedRun) -> Iterator[Disagreement]:
    """`curves.png` is a sound picture, and says that it was drawn from the files beside it."""
    content = (run.root / layout.CURVES).read_bytes()
    if not content.startswith(_PNG):
        yield Disagreement(layout.CURVES, "is not a PNG picture")
        return
    found: dict[bytes, bytes] = {}
    at = len(_PNG)
    while at < len(content):
        length = int.from_bytes(content[at : at + 4])
        kind, data = content[at + 4 : at + 8], content[at + 8 : at + 8 + length]
        checksum = content[at + 8 + length : at + 12 + length]
        if len(checksum) < 4 or struct.unpack(">I", checksum)[0] != zlib.crc32(kind + data):
            yield Disagreement(layout.CURVES, f"the part at byte {at} is cut or damaged")
            return
        found[kind] = data
        at += 12 + length
    drawn_from = layout.drawn_from(run.root)
    if b"IEND" not in found or found.get(b"tEXt") != b"Source\0" + drawn_from.encode():
        yield Disagreement(layout.CURVES, f"was not drawn from the files beside it ({drawn_from})")


def _differing(run: OpenedRun, listed: Mapping[str, str], where: str) -> Iterator[Disagreement]:
    """The files whose hash the manifest has right, as somebody made it, and `where` not."""
    claimed = {**(run.manifest.files or {}), layout.MANIFEST: run.digests[layout.MANIFEST]}
    for name in sorted(run.files & listed.keys() & claimed.keys()):
        if run.digests[name] == claimed[name] != listed[name]:
            yield Disagreement(name, f"differs from its hash in {where}")
