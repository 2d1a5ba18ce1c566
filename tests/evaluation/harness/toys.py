"""Task files and their documents, as a user would write them."""

import json
from pathlib import Path
from typing import Any

import yaml

CHOICES = [
    {"q": "The sky is", "choices": ["blue", "a fish", "eleven"], "answer": 0},
    {"q": "Two and two is", "choices": ["five", "four", "red"], "answer": 1},
    {"q": "A dog can", "choices": ["read", "fly", "bark"], "answer": 2},
    {"q": "Snow is", "choices": ["hot", "white", "loud"], "answer": 1},
]
ADDITIONS = [{"q": f"{n} + 1", "a": str(n + 1)} for n in range(3)]
TEXTS = [{"text": "The sky is blue."}, {"text": "Two and two is four, and snow is white."}]

MEAN = {"aggregation": "mean", "higher_is_better": True}
TASKS: dict[str, dict[str, Any]] = {
    "toy_choice": {
        "output_type": "multiple_choice",
        "doc_to_text": "{{q}}",
        "doc_to_choice": "{{choices}}",
        "doc_to_target": "answer",
        "metric_list": [{"metric": "acc", **MEAN}, {"metric": "acc_norm", **MEAN}],
    },
    "toy_addition": {
        "output_type": "generate_until",
        "doc_to_text": "{{q}} =",
        "doc_to_target": "{{a}}",
        "generation_kwargs": {"until": ["\n"], "max_gen_toks": 6, "do_sample": False},
        "metric_list": [{"metric": "exact_match", **MEAN}],
    },
    "toy_text": {
        "output_type": "loglikelihood_rolling",
        "doc_to_text": "",
        "doc_to_target": "{{text}}",
        "metric_list": [{"metric": "word_perplexity"}, {"metric": "bits_per_byte"}],
    },
}
DOCUMENTS = {"toy_choice": CHOICES, "toy_addition": ADDITIONS, "toy_text": TEXTS}


def write_tasks(folder: Path, *names: str, **changes: Any) -> str:
    """A folder of task files, each beside its documents; `changes` are keys of the last of them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        data = folder / f"{name}.jsonl"
        data.write_text("".join(json.dumps(row) + "\n" for row in DOCUMENTS[name]), encoding="utf-8")
        task = {
            "task": name,
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": {"test": str(data)}, "cache_dir": str(folder / "cache")},
            "test_split": "test",
            "num_fewshot": 0,
            "metadata": {"version": 1.0},
            **TASKS[name],
            **(changes if name == names[-1] else {}),
        }
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(task), encoding="utf-8")
    return str(folder)
