"""What the harness gives back, as plain values: one row for each item, and the results of each task."""

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from lm_eval.api.metrics import bits_per_byte, mean, perplexity, weighted_perplexity
from lm_eval.api.task import Task

# The sums that `verify` can do again without the harness.
_AGGREGATIONS = {
    mean: "mean",
    perplexity: "perplexity",
    weighted_perplexity: "weighted_perplexity",
    bits_per_byte: "bits_per_byte",
}


class Answered(NamedTuple):
    """A model's rows, one for each item and filter, and its results by task; ready for JSON."""

    rows: list[dict[str, Any]]
    results: dict[str, Any]


def answered(
    results: Mapping[str, Any], tasks: Mapping[str, Task], cut: Counter[str], lm_eval: str
) -> Answered:
    """What `lm_eval.evaluate` returned, without what differs between machines."""
    rows = [
        _row(name, sample, "" if len({s["filter"] for s in samples}) == 1 else f"/{sample['filter']}")
        for name, samples in results["samples"].items()
        for sample in samples
    ]
    parts = {name: _part(name, task, results, cut) for name, task in tasks.items()}
    groups = {
        name: {"tasks": list(members), "metrics": _figures(results["results"][name])}
        for name, members in results["group_subtasks"].items()
    }
    return Answered(rows, {"lm_eval": lm_eval, "tasks": parts, "groups": groups})


def _row(task: str, sample: Mapping[str, Any], suffix: str) -> dict[str, Any]:
    return {
        "id": f"{task}/{sample['doc_id']}{suffix}",
        "task": task,
        "doc_id": sample["doc_id"],
        "filter": sample["filter"],
        "doc": plain(sample["doc"]),
        "arguments": plain(sample["arguments"]),
        "target": plain(sample["target"]),
        "responses": plain(sample["resps"]),
        "filtered": plain(sample["filtered_resps"]),
        "metrics": {name: plain(sample[name]) for name in sample["metrics"]},
        "doc_hash": sample["doc_hash"],
        "prompt_hash": sample["prompt_hash"],
        "target_hash": sample["target_hash"],
    }


def _part(name: str, task: Task, results: Mapping[str, Any], cut: Counter[str]) -> dict[str, Any]:
    config = plain(results["configs"][name])
    if "metadata" in config:
        # where the file lies is this machine's affair
        config["metadata"].pop("config_source", None)
    better: Mapping[str, Any] = results["higher_is_better"][name]
    aggregation: Mapping[str, Any] = task.aggregation() or {}
    return {
        "version": plain(results["versions"][name]),
        "output_type": str(task.OUTPUT_TYPE),
        "num_fewshot": results["n-shot"][name],
        "n_items": len({sample["doc_id"] for sample in results["samples"][name]}),
        "n_documents": results["n-samples"][name]["original"],
        "n_cut": cut[name],
        "metrics": {
            key: {
                "value": value,
                "higher_is_better": better.get(key.split(",")[0]),
                # the harness takes the mean where a task names no sum
                "aggregation": _AGGREGATIONS.get(aggregation.get(key.split(",")[0], mean), "other"),
            }
            for key, value in _figures(results["results"][name]).items()
        },
        "config": config,
    }


def _figures(result: Mapping[str, Any]) -> dict[str, Any]:
    """The metrics by `name,filter`; the harness's standard errors were not asked for."""
    return {key: plain(value) for key, value in result.items() if "," in key and "_stderr," not in key}


def plain(value: Any) -> Any:
    """`value` as strict JSON has it; what JSON has no form for is spelled out."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(map(str, value))
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    return str(value)
