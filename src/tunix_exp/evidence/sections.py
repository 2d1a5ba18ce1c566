"""The sections of `run_manifest.json`: what is recorded of code, machine, model, data and result."""

import hashlib
import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Annotated, Literal

from pydantic import Field

from tunix_exp.schema import Config

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


class Code(Config):
    """The code that ran, and the hash of its `uv.lock`; all but the version null outside a checkout."""

    version: Word
    git_commit: Annotated[str, Field(pattern=r"^[0-9a-f]{40,64}$")] | None
    git_dirty: bool | None
    git_diff_sha256: Sha256 | None
    lock_sha256: Sha256 | None


class Machine(Config):
    """The kind of machine: same kind, versions and devices, same bits.

    The processor's flags decide which instructions XLA emits, the threads how it splits sums.
    """

    system: Word
    architecture: Word
    processor: Word
    cpu_flags: Word | None
    threads: Annotated[int, Field(ge=1)]


class Host(Config):
    """One of several processes that computed the run: its host, the processor there, and its devices."""

    process: Count
    host: Word
    processor: Word
    device_kind: Word
    devices: Count


class Model(Config):
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


class LoRA(Config):
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


class Data(Config):
    """The training set: sha256 of its LF bytes, and the rows that training draws from."""

    name: Word
    source: Word
    rows: Count
    sha256: Sha256


class MixedSet(Config):
    """One of several sets: as `Data`, and its weight."""

    source: Word
    weight: Amount
    rows: Count
    sha256: Sha256


class Stage(Config):
    """One of several sets that are trained on in turn: as `Data`, and for how many steps."""

    source: Word
    steps: Count
    rows: Count
    sha256: Sha256


class Mixture(Config):
    """The training sets of a mixture by name, or its stages in turn: their rows in all, and the sha256 that
    stands for all.
    """

    name: Word
    rows: Count
    sha256: Sha256
    sets: dict[Word, MixedSet | Stage]

    @property
    def stages(self) -> dict[str, int]:
        """The steps of each set that is trained on in its turn."""
        return {name: one.steps for name, one in self.sets.items() if isinstance(one, Stage)}


def steps_of(epochs: float, *, rows: int, batch_size: int) -> int:
    """The batches that hold the rows so many times; the last one may be filled from the next pass."""
    return math.ceil(Fraction(str(epochs)) * rows / batch_size)


def digest_of_sets(digests: Mapping[str, str]) -> str:
    """The sha256 that stands for several sets, of their names and hashes."""
    lines = "".join(f"{name} {digest}\n" for name, digest in digests.items())
    return hashlib.sha256(lines.encode()).hexdigest()


def training_sources(data: Data | Mixture) -> dict[str, Data | MixedSet | Stage]:
    """What is recorded of each source of training rows, by the config key that names it."""
    if isinstance(data, Data):
        return {"data.source": data}
    return {f"data.mix.{name}.source": one for name, one in data.sets.items()}


class ItemsEval(Config):
    """The held-out items: sha256 of their LF bytes, how many were asked, and the texts that end an answer.

    Where `source` is `data` they are rows of the training set, and the hash is that of all its bytes.
    `stop` is null where version 1 did not record it.
    """

    kind: Literal["items"]
    name: Word
    source: Word
    rows: Count
    sha256: Sha256
    stop: tuple[Word, ...] | None


class HarnessEval(Config):
    """Tasks of the lm-evaluation-harness: its release, its documents' hash, and how many were asked."""

    kind: Literal["harness"]
    name: Word
    lm_eval: Word
    tasks: Annotated[tuple[Word, ...], Field(min_length=1)]
    rows: Count
    sha256: Sha256


class NoEval(Config):
    """Nothing was asked."""

    kind: Literal["none"]


Evaluated = Annotated[ItemsEval | HarnessEval | NoEval, Field(discriminator="kind")]


class Compiles(Config):
    """How often XLA compiled, and how long that took."""

    count: Count
    seconds: Reading


class ResumedFrom(Config):
    """The run and the step whose checkpoint this run began with."""

    run_id: Word
    step: Count


class NoStep(Config):
    """Instead of rates: the run took no step itself, as the one that it went on from had done the last."""

    kind: Literal["no step"]


class ReplayOf(Config):
    """The run that this one repeats, by its manifest's hash; up to `steps`, or whole when that is null."""

    run_id: Word
    manifest_sha256: Sha256
    steps: Annotated[int, Field(ge=1)] | None


class BaselineRecord(Config):
    """The run that this one is measured against, by its manifest's hash, and by how much it may be missed.

    `stop` are the texts that ended its answers, null where it did not record them.
    """

    run_id: Word
    manifest_sha256: Sha256
    tolerance_points: Amount
    stop: tuple[Word, ...] | None


class Headline(Config):
    """The scores, as fractions from 0 to 1.

    Where no task of the harness says right or wrong, they are the first of its metrics.
    """

    base_score: float
    trained_score: float | None
    difference: float | None
    n_items: Count


class Kaggle(Config):
    """Where on Kaggle the run took place; null outside."""

    kaggle_notebook_url: Word | None
    kaggle_notebook_version: Word | None
    kaggle_run_id: Word | None


class ErrorRecord(Config):
    """What ended the run before it was complete."""

    stage: Word
    type: Word
    message: Word
    where: Word | None
    remedy: Word | None


class Finding(Config):
    """Something odd, and true as far as anybody knows: an honest run on a strange machine may have it."""

    code: Word
    where: Word
    sentence: Word
