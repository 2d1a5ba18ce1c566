"""Tasks are found, loaded and checked before a model is asked, and asked of every model alike."""

import logging
import random
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from tests.evaluation.harness.test_bridge import Bar, bridge
from tests.evaluation.harness.toys import write_tasks
from tunix_exp.errors import UserError
from tunix_exp.evaluation.config import HarnessEvalConfig
from tunix_exp.evaluation.harness import tasks as under_test
from tunix_exp.evaluation.harness.tasks import load_tasks


def config(folder, *names, **changes) -> HarnessEvalConfig:
    fields = {
        "kind": "harness", "name": "harness", "tasks": names, "include_path": str(folder),
        "num_fewshot": None, "fewshot_seed": 1234, "apply_chat_template": False,
        "fewshot_as_multiturn": False, "max_items": None, "batch_size": 8, "max_new_tokens": None,
        "resamples": 1000,
    }  # fmt: skip
    return HarnessEvalConfig(**(fields | changes))


def loaded(folder, *names, said=None, num_positions=32, system=None, **changes):
    told = [] if said is None else said
    return load_tasks(
        config(folder, *names, **changes), system=system, num_positions=num_positions, say=told.append
    )


def refusal(*arguments, **named) -> str:
    with pytest.raises(UserError) as caught:
        loaded(*arguments, **named)
    return str(caught.value)


@contextmanager
def progress(total, what):
    yield Bar()


def asked(tasks, family="gpt2"):
    model = bridge(family)
    return tasks.ask(model._model, model._tokenizer, progress=progress, say=lambda text: None)


def test_a_local_task_is_loaded_with_its_documents_and_no_other_index_is_built(tmp_path, monkeypatch):
    folder = write_tasks(tmp_path, "toy_choice", "toy_addition")
    state = random.getstate()
    tasks = loaded(folder, "toy_choice", "toy_addition", max_items=2)
    assert random.getstate() != state  # the harness's own seed, whatever came before
    documents = list(tasks.documents())
    assert [one[:2] for one in documents] == [
        ("toy_choice", 0), ("toy_choice", 1), ("toy_addition", 0), ("toy_addition", 1),
    ]  # fmt: skip
    assert len({digest for _, _, digest in documents}) == 4


def test_every_model_gets_the_same_examples_and_as_many_as_were_asked_for(tmp_path):
    folder = write_tasks(tmp_path, "toy_addition", fewshot_split="test", num_fewshot=None)
    tasks = loaded(folder, "toy_addition", num_fewshot=2, max_new_tokens=2)
    first, second = asked(tasks), asked(tasks)
    assert first == second
    prompts = [row["arguments"][0][0] for row in first.rows]
    assert [prompt.count("=") for prompt in prompts] == [3, 3, 3]
    assert first.results["tasks"]["toy_addition"]["num_fewshot"] == 2
    other = asked(loaded(folder, "toy_addition", num_fewshot=2, max_new_tokens=2, fewshot_seed=3))
    assert [row["prompt_hash"] for row in other.rows] != [row["prompt_hash"] for row in first.rows]


def test_a_task_that_says_0_examples_stays_at_0_and_this_is_said(tmp_path):
    said = []
    tasks = loaded(write_tasks(tmp_path, "toy_choice"), "toy_choice", num_fewshot=2, said=said)
    assert tasks.loaded["tasks"]["toy_choice"].config.num_fewshot == 0
    assert said == ["harness: toy_choice is zero-shot by its task file; eval.num_fewshot does not apply"]


def test_a_conversation_has_the_system_text_and_the_examples_in_turns(tmp_path):
    folder = write_tasks(tmp_path, "toy_addition", fewshot_split="test", num_fewshot=1)
    words = {"apply_chat_template": True, "fewshot_as_multiturn": True, "max_items": 1, "max_new_tokens": 2}
    tasks = loaded(folder, "toy_addition", system="Be brief.", **words)
    (prompt,) = asked(tasks, "gemma").rows[0]["arguments"][0][:1]
    assert prompt.startswith("<start_of_turn>user\nBe brief.\n\n")
    assert prompt.count("<start_of_turn>") == 4
    assert prompt.endswith(" + 1 =<end_of_turn>\n<start_of_turn>model\n")


def test_what_the_harness_warns_of_is_told_once(tmp_path):
    said = []
    loaded(write_tasks(tmp_path, "toy_text"), "toy_text", said=said)
    assert len(said) == len(set(said)) == 4
    assert said[0].startswith("harness: [Task: toy_text] metric word_perplexity is defined, but aggregation")
    with under_test._told(said.append):
        logging.getLogger("lm_eval.api.task").warning("again\nand again")
        logging.getLogger("lm_eval.api.task").warning("again\nand again")
    assert said[4:] == ["harness: again and again"]
    assert logging.getLogger("lm_eval").propagate


def test_an_unknown_task_is_refused_with_near_names_and_the_files_that_cannot_be_read(tmp_path, monkeypatch):
    folder = Path(write_tasks(tmp_path / "own", "toy_choice"))
    (folder / "broken.yaml").write_text("task: [toy\n")
    # the index of all tasks takes seconds: as if there were none but these
    monkeypatch.setattr(under_test, "TaskManager", _without_defaults(under_test.TaskManager))
    text = refusal(folder, "toy_choise")
    assert "the harness has no task toy_choise — did you mean `toy_choice`?" in text
    assert f"{folder / 'broken.yaml'} cannot be read: " in text
    assert "eval.include_path" in text
    assert "`./nowhere` is not a folder" in refusal("./nowhere", "toy_choice")


def _without_defaults(manager):
    return lambda include_path=None, include_defaults=True: manager(
        include_path=include_path, include_defaults=False
    )


def test_a_data_set_that_is_not_there_is_said_with_the_way_to_work_off_line(tmp_path):
    folder = Path(write_tasks(tmp_path, "toy_choice"))
    (folder / "toy_choice.jsonl").unlink()
    text = refusal(folder, "toy_choice")
    assert "toy_choice cannot be loaded: FileNotFoundError: Unable to find" in text
    assert "HF_HUB_OFFLINE is set" in text


def test_a_hub_that_does_not_answer_is_asked_once(tmp_path, monkeypatch):
    folder = Path(write_tasks(tmp_path, "toy_choice"))
    task = yaml.safe_load((folder / "toy_choice.yaml").read_text())
    task |= {"dataset_path": "nobody/nothing", "dataset_kwargs": None}
    (folder / "toy_choice.yaml").write_text(yaml.safe_dump(task))
    (folder / "group.yaml").write_text("group: toys\ntask:\n  - toy_choice\n")
    # off line the cache is asked, which has no such set
    assert "toys cannot be loaded: ConnectionError: Couldn't reach 'nobody/nothing'" in refusal(
        folder, "toys"
    )
    times = []

    def unreachable(self, repo, *, timeout):
        times.append((repo, timeout))
        raise ConnectionError("[Errno -2] Name or service not known")

    monkeypatch.setattr(under_test.huggingface_hub, "is_offline_mode", lambda: False)
    monkeypatch.setattr(under_test.huggingface_hub.HfApi, "dataset_info", unreachable)
    text = refusal(folder, "toys")
    assert "the data set nobody/nothing of the task toy_choice cannot be reached on the Hub: Conn" in text
    assert "HF_HUB_OFFLINE=1" in text
    assert times == [("nobody/nothing", 4.0)]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"unsafe_code": True}, "the task toy_addition runs code that a model wrote"),
        ({"generation_kwargs": {"until": ["\n"], "do_sample": True}}, "answers are greedy"),
        ({"generation_kwargs": {"until": ["\n"], "max_gen_toks": 32}}, "cap it: eval.max_new_tokens=N"),
    ],
)
def test_a_task_that_cannot_be_asked_is_refused_before_any_model_is(tmp_path, changes, text):
    assert text in refusal(write_tasks(tmp_path, "toy_addition", **changes), "toy_addition")
