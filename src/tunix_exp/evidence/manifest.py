"""`run_manifest.json`: what a run says about itself, and which of it must be known by when."""

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from tunix_exp.errors import UserError
from tunix_exp.evidence import sections as records
from tunix_exp.evidence.layout import CONFIG, MANIFEST
from tunix_exp.evidence.sections import Count, Mode, Reading, Sha256, Status, Timestamp, Verdict, Word
from tunix_exp.evidence.strict_json import canonical_json, parse_json, read_text
from tunix_exp.schema import Config

# Fields that came while version 1 was written, and so may be absent from it.
LATER_FIELDS = ("elapsed_s", "console_lost", "findings", "eval.stop", "baseline.stop")


class RunManifest(Config):
    """The whole of `run_manifest.json`; what is not known yet is null.

    Mode and seed are null in a sweep's job whose config was refused for them. Version 1 did not always have
    the fields of `LATER_FIELDS`: those that a manifest lacks are read as null.
    """

    schema_version: Literal[1, 2]
    run_id: Word
    name: Word
    status: Status
    mode: Mode | None
    command: Annotated[tuple[str, ...], Field(min_length=1)]
    config_hash: Sha256
    code: records.Code
    machine: records.Machine
    started_at: Timestamp
    finished_at: Timestamp | None
    elapsed_s: Reading | None
    seed: int | None
    model: records.Model | None
    adapter: records.LoRA | None
    data: records.Data | records.Mixture | None
    eval: records.Evaluated | None
    devices: tuple[Word, ...] | None
    hosts: tuple[records.Host, ...] | None = None  # of several processes; runs of before had one
    platform: Word | None
    versions: dict[str, Word] | None
    environment: dict[str, str] | None
    times_s: dict[str, Reading] | None
    compiles: records.Compiles | None
    peak_memory_bytes: int | None
    peak_memory_of: Literal["device", "process"] | None
    tokens_per_s: Reading | None
    throughput: dict[str, Reading] | records.NoStep | None
    steps_done: Count | None
    resumed_from: records.ResumedFrom | None
    replay_of: records.ReplayOf | None
    headline: records.Headline | None
    baseline: records.BaselineRecord | None
    verdict: Verdict | None
    kaggle: records.Kaggle
    console_lost: dict[Literal["stdout", "stderr"], Word] | None
    findings: tuple[records.Finding, ...] | None
    error: records.ErrorRecord | None
    files: dict[str, Sha256] | None

    @property
    def took_no_step(self) -> bool:
        """Whether the run went on from one that had done the last step, and finished what was missing."""
        return isinstance(self.throughput, records.NoStep)

    @classmethod
    def opening(cls, **known: Any) -> "RunManifest":
        """A manifest of a run that begins now: `running`, and every section that is not `known` null."""
        begun = {"schema_version": 2, "status": "running", "started_at": utc_now()}
        return cls.model_validate(dict.fromkeys(cls.model_fields) | begun | known)


def utc_now() -> str:
    """The present as an ISO timestamp in UTC, to the microsecond."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def config_hash(config: dict[str, Any]) -> str:
    """The sha256 of the config's canonical JSON: the same for every order of its keys."""
    # a damaged config may hold half a character, which no other has the hash of
    return hashlib.sha256(canonical_json(config, file=CONFIG).encode(errors="surrogatepass")).hexdigest()


def read_manifest(root: Path) -> RunManifest:
    """The manifest of the run at `root`; a `UserError` lists every key that is wrong."""
    return parse_manifest(read_text(root / MANIFEST, file=MANIFEST))


def parse_manifest(text: str) -> RunManifest:
    """The manifest that `text` holds as JSON; a `UserError` lists every key that is wrong."""
    plain = parse_json(text, file=MANIFEST)
    if isinstance(plain, dict) and plain.get("schema_version") == 1:
        text = canonical_json(_with_later_fields(plain), file=MANIFEST)
    try:
        return RunManifest.model_validate_json(text)
    except ValidationError as error:
        faults = [f"`{'.'.join(map(str, e['loc'])) or 'the file'}`: {e['msg']}" for e in error.errors()]
        raise UserError(
            "the manifest does not follow its schema: " + "; ".join(faults),
            where=MANIFEST,
            remedy="a manifest is written by the run alone; take it from where it was made, or run again",
        ) from error


def _with_later_fields(plain: dict[str, Any]) -> dict[str, Any]:
    filled = dict(plain)
    if isinstance(plain.get("headline"), dict):
        filled["headline"] = {key: value for key, value in plain["headline"].items() if key != "text"}
    for key in LATER_FIELDS:
        section, _, leaf = key.partition(".")
        if not leaf:
            filled.setdefault(section, None)
        elif isinstance(part := filled.get(section), dict) and part.get("kind", "items") == "items":
            filled[section] = {leaf: None, **part}
    return filled
