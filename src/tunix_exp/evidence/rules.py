"""Which fields of a manifest must be known, and which may be null, by status, mode and nature."""

from collections.abc import Iterator
from typing import Any

from tunix_exp.evidence.manifest import LATER_FIELDS, RunManifest
from tunix_exp.evidence.sections import Mode, NoEval, Status

# What a completed run may leave null, with the reason. Everything else must be known.
NULL_BY_NATURE: dict[str, str] = {
    "error": "nothing failed",
    "console_lost": "the terminal took all that was printed",
    "resumed_from": "the run began at step 0",
    "replay_of": "the run repeats no other",
    "replay_of.steps": "the other run is repeated whole",
    "hosts": "one process computed the run",
    "adapter": "every parameter of the model is trained",
    "baseline": "no other run was named to be measured against",
    "baseline.stop": "the other run did not record it",
    "verdict": "no other run was named to be measured against",
    "code.git_commit": "outside a git checkout",
    "code.git_dirty": "outside a git checkout",
    "code.git_diff_sha256": "nothing differs from the commit, or outside a git checkout",
    "code.lock_sha256": "outside a checkout",
    "machine.cpu_flags": "the system does not list them",
    "model.revision": "the weights are not from the Hub",
    "kaggle.kaggle_notebook_url": "outside Kaggle",
    "kaggle.kaggle_notebook_version": "outside Kaggle",
    "kaggle.kaggle_run_id": "outside Kaggle",
}
NULL_BY_MODE: dict[Mode, frozenset[str]] = {
    "full": frozenset(),
    "smoke": frozenset(),
    "eval": frozenset(
        {
            "model.trained_weight_hash",
            "adapter.frozen_weight_hash_after",
            "steps_done",
            "tokens_per_s",
            "throughput",
            "headline.trained_score",
            "headline.difference",
        }
    ),
    "preflight": frozenset(
        {
            "model.base_weight_hash",
            "model.trained_weight_hash",
            "model.tokenizer_digest",
            "adapter.frozen_weight_hash_after",
            "data",
            "eval",
            "peak_memory_bytes",
            "peak_memory_of",
            "tokens_per_s",
            "throughput",
            "steps_done",
            "headline",
        }
    ),
}
NULL_WITHOUT_EVAL = frozenset({"headline"})
NULL_WITHOUT_STEPS = frozenset({"tokens_per_s"})


def rule_breaches(manifest: RunManifest, *, status: Status) -> list[str]:
    """Every way in which `manifest` breaks the rules that a run of `status` must meet."""
    ended_early = status in ("failed", "interrupted")
    nulls = set(_null_keys(manifest.model_dump(mode="json"), ""))
    if status == "completed":
        unknown = {key for key in nulls - _allowed_nulls(manifest) if not key.startswith("error.")}
    else:
        unknown = nulls & {"error", "finished_at"} if ended_early else set()
    breaches = [f"`{key}` is null, but the run is `{status}`" for key in sorted(unknown)]
    if not ended_early and manifest.error is not None:
        breaches.append(f"`error` is not null, but the run is `{status}`")
    return breaches + list(_contradictions(manifest))


def _allowed_nulls(manifest: RunManifest) -> set[str]:
    allowed = set(NULL_BY_NATURE)
    if manifest.mode is not None:
        allowed |= NULL_BY_MODE[manifest.mode]
    if isinstance(manifest.eval, NoEval):
        allowed |= NULL_WITHOUT_EVAL
    if manifest.took_no_step:
        allowed |= NULL_WITHOUT_STEPS
    if manifest.schema_version == 1:
        allowed |= set(LATER_FIELDS)
    return allowed


def _null_keys(value: dict[str, Any], prefix: str) -> Iterator[str]:
    for name, part in value.items():
        if part is None:
            yield prefix + name
        elif isinstance(part, dict):
            yield from _null_keys(part, f"{prefix}{name}.")


def _contradictions(manifest: RunManifest) -> Iterator[str]:
    code = manifest.code
    if (code.git_commit is None) != (code.git_dirty is None):
        yield "`code.git_commit` and `code.git_dirty` must both be known or both be null"
    if (code.git_diff_sha256 is not None) != (code.git_dirty is True):
        yield "`code.git_diff_sha256` must be known exactly when `code.git_dirty` is true"
    model = manifest.model
    loads = manifest.mode != "preflight"
    if loads and model is not None and model.revision is None and model.weights.startswith("hub:"):
        yield "`model.revision` is null, but the weights are from the Hub"
    before = None if model is None else model.base_weight_hash
    after = None if manifest.adapter is None else manifest.adapter.frozen_weight_hash_after
    if after not in (None, before):
        yield "`adapter.frozen_weight_hash_after` is not `model.base_weight_hash`: frozen weights changed"
    parent, done = manifest.resumed_from, manifest.steps_done
    if parent is not None and done is not None and parent.step > done:
        yield f"`steps_done` is {done}, but the run went on from step {parent.step}"
    if manifest.took_no_step != (parent is not None and parent.step == done):
        yield "`throughput` must say that there was no step exactly when `resumed_from` had done the last one"
    if manifest.took_no_step and manifest.tokens_per_s is not None:
        yield "`tokens_per_s` is not null, but the run took no step"
    if manifest.headline is not None and (manifest.baseline is None) != (manifest.verdict is None):
        yield "`verdict` must be known exactly when there is a `baseline`"
    if isinstance(manifest.eval, NoEval) and manifest.headline is not None:
        yield "`headline` is not null, but nothing was evaluated"
