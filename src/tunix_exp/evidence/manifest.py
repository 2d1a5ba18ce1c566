"""`run_manifest.json`: what a run says about itself, and which of it must be known by when."""

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tunix_exp.errors import UserError
from tunix_exp.evidence.layout import CONFIG, MANIFEST
from tunix_exp.evidence.strict_json import canonical_json, parse_json, read_text

Status = Literal["running", "completed", "failed", "interrupted"]
Mode = Literal["full", "smoke", "eval", "preflight"]
# Against the baseline: missed by no more than the tolerance, or by more.
Verdict = Literal["held", "regressed"]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Timestamp = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")]
Word = Annotated[str, Field(min_length=1)]
Count = Annotated[int, Field(ge=0)]
Amount = Annotated[float, Field(ge=0)]
# What a clock or a driver told: on a strange machine it may be anything, below zero too. See `findings`.
Reading = float


# Fields that came while version 1 was written, and so may be absent from it.
LATER_FIELDS = ("elapsed_s", "console_lost", "findings", "eval.stop", "baseline.stop")


class _Section(BaseModel):
    model_config = ConfigDict(
        frozen=True, strict=True, extra="forbid", allow_inf_nan=False, protected_namespaces=()
    )


class Code(_Section):
    """The code that ran, and the hash of its `uv.lock`; all but the version null outside a checkout."""

    version: Word
    git_commit: Annotated[str, Field(pattern=r"^[0-9a-f]{40,64}$")] | None
    git_dirty: bool | None
    git_diff_sha256: Sha256 | None
    lock_sha256: Sha256 | None


class Machine(_Section):
    """The kind of machine: same kind, versions and devices, same bits.

    The processor's flags decide which instructions XLA emits, the threads how it splits sums.
    """

    system: Word
    architecture: Word
    processor: Word
    cpu_flags: Word | None
    threads: Annotated[int, Field(ge=1)]


class Model(_Section):
    """The model that was loaded; a hash covers the parameters as the run held them."""

    name: Word
    family: Word
    weights: Word
    revision: Word | None
    parameter_count: Count | None
    base_weight_hash: Sha256 | None
    trained_weight_hash: Sha256 | None
    tokenizer_digest: Sha256 | None
    files: dict[str, Sha256]


class LoRA(_Section):
    """The adapter that was trained, beside which layers, and the model that was frozen.

    The frozen parameters have the dtype they are stored in, and after the training the hash that
    `model.base_weight_hash` was before it; `model.trained_weight_hash` is the adapter's own.
    """

    name: Literal["lora"]
    weights: Word
    rank: Count
    alpha: Amount
    scaling: Word
    dropout: Amount
    targets: Annotated[tuple[Word, ...], Field(min_length=1)]
    merge_for_eval: bool
    parameter_count: Count
    frozen_dtype: Word
    frozen_weight_hash_after: Sha256 | None
    files: dict[str, Sha256]


class Data(_Section):
    """The training set: sha256 of its LF bytes, and the rows that training draws from."""

    name: Word
    source: Word
    rows: Count
    sha256: Sha256


class ItemsEval(_Section):
    """The held-out items: sha256 of their LF bytes, how many were asked, and the texts that end an answer.

    `stop` is null where version 1 did not record it.
    """

    kind: Literal["items"]
    name: Word
    source: Word
    rows: Count
    sha256: Sha256
    stop: tuple[Word, ...] | None


class HarnessEval(_Section):
    """Tasks of the lm-evaluation-harness: its release, its documents' hash, and how many were asked."""

    kind: Literal["harness"]
    name: Word
    lm_eval: Word
    tasks: Annotated[tuple[Word, ...], Field(min_length=1)]
    rows: Count
    sha256: Sha256


class NoEval(_Section):
    """Nothing was asked."""

    kind: Literal["none"]


class Compiles(_Section):
    """How often XLA compiled, and how long that took."""

    count: Count
    seconds: Reading


class ResumedFrom(_Section):
    """The run and the step whose checkpoint this run began with."""

    run_id: Word
    step: Count


class NoStep(_Section):
    """Instead of rates: the run took no step itself, as the one that it went on from had done the last."""

    kind: Literal["no step"]


class ReplayOf(_Section):
    """The run that this one repeats, by its manifest's hash; up to `steps`, or whole when that is null."""

    run_id: Word
    manifest_sha256: Sha256
    steps: Annotated[int, Field(ge=1)] | None


class BaselineRecord(_Section):
    """The run that this one is measured against, by its manifest's hash, and by how much it may be missed.

    `stop` are the texts that ended its answers, null where it did not record them.
    """

    run_id: Word
    manifest_sha256: Sha256
    tolerance_points: Amount
    stop: tuple[Word, ...] | None


class Headline(_Section):
    """The scores, as fractions from 0 to 1.

    Where no task of the harness says right or wrong, they are the first of its metrics.
    """

    base_score: float
    trained_score: float | None
    difference: float | None
    n_items: Count


class Kaggle(_Section):
    """Where on Kaggle the run took place; null outside."""

    kaggle_notebook_url: Word | None
    kaggle_notebook_version: Word | None
    kaggle_run_id: Word | None


class ErrorRecord(_Section):
    """What ended the run before it was complete."""

    stage: Word
    type: Word
    message: Word
    where: Word | None
    remedy: Word | None


class Finding(_Section):
    """Something odd, and true as far as anybody knows: an honest run on a strange machine may have it."""

    code: Word
    where: Word
    sentence: Word


class RunManifest(_Section):
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
    code: Code
    machine: Machine
    started_at: Timestamp
    finished_at: Timestamp | None
    elapsed_s: Reading | None
    seed: int | None
    model: Model | None
    adapter: LoRA | None
    data: Data | None
    eval: Annotated[ItemsEval | HarnessEval | NoEval, Field(discriminator="kind")] | None
    devices: tuple[Word, ...] | None
    platform: Word | None
    versions: dict[str, Word] | None
    environment: dict[str, str] | None
    times_s: dict[str, Reading] | None
    compiles: Compiles | None
    peak_memory_bytes: int | None
    peak_memory_of: Literal["device", "process"] | None
    tokens_per_s: Reading | None
    throughput: dict[str, Reading] | NoStep | None
    steps_done: Count | None
    resumed_from: ResumedFrom | None
    replay_of: ReplayOf | None
    headline: Headline | None
    baseline: BaselineRecord | None
    verdict: Verdict | None
    kaggle: Kaggle
    console_lost: dict[Literal["stdout", "stderr"], Word] | None
    findings: tuple[Finding, ...] | None
    error: ErrorRecord | None
    files: dict[str, Sha256] | None

    @property
    def took_no_step(self) -> bool:
        """Whether the run went on from one that had done the last step, and finished what was missing."""
        return isinstance(self.throughput, NoStep)

    @classmethod
    def opening(
        cls,
        *,
        run_id: str,
        name: str,
        mode: Mode | None,
        command: tuple[str, ...],
        config_hash: str,
        code: Code,
        machine: Machine,
        seed: int | None,
        kaggle: Kaggle,
        replay_of: ReplayOf | None,
    ) -> "RunManifest":
        """A manifest of a run that begins now: `running`, and every section that comes later null."""
        known: dict[str, Any] = dict.fromkeys(cls.model_fields)
        known |= {"schema_version": 2, "status": "running", "started_at": utc_now()}
        known |= {"run_id": run_id, "name": name, "mode": mode, "command": command, "seed": seed}
        known |= {"config_hash": config_hash, "code": code, "kaggle": kaggle}
        known |= {"machine": machine, "replay_of": replay_of}
        return cls.model_validate(known)


def utc_now() -> str:
    """The present as an ISO timestamp in UTC, to the microsecond."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def config_hash(config: dict[str, Any]) -> str:
    """The sha256 of the config's canonical JSON: the same for every order of its keys."""
    return hashlib.sha256(canonical_json(config, file=CONFIG).encode()).hexdigest()


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
