"""`finish RUN` does what is missing of a run, and nothing else."""

import json

import pytest

from tests.running import bits, read_json, run_toy
from tunix_exp import cli
from tunix_exp.evidence.verify import verify
from tunix_exp.stages import comparison, score, training

HELD_OUT = "eval.heldout_every_steps=2"  # as the toy run that others read


class Killed(BaseException):
    """Nothing in the program catches this: what lies there is what a kill leaves."""


def die(*_, **__):
    raise Killed


def killed_in(place, name, folder, *words, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(place, name, die)
        with pytest.raises(Killed):
            run_toy(folder, *words)


@pytest.fixture
def evaluations(monkeypatch) -> list[int]:
    """One entry for each evaluation that is done."""
    done: list[int] = []
    whole = score.evaluate
    monkeypatch.setattr(score, "evaluate", lambda *a, **named: done.append(1) or whole(*a, **named))
    return done


def test_a_run_killed_in_its_comparison_evaluates_nothing_again(
    tmp_path, monkeypatch, capsys, toy_run, evaluations
):
    killed_in(comparison, "eval_summary", tmp_path / "1", HELD_OUT, monkeypatch=monkeypatch)
    assert len(evaluations) == 2
    assert cli.main(["finish", str(tmp_path / "1")]) == 0
    assert len(evaluations) == 2
    finished = tmp_path / "1-finished"
    assert verify(finished) == []
    ours, theirs = bits(tmp_path / "1-finished"), bits(toy_run)
    assert {**ours, "metrics": None} == {**theirs, "metrics": None}  # no step was left to take
    record = read_json(finished / "stages" / "trained_evaluation.json")
    assert record["made_by"] == read_json(tmp_path / "1" / "run_manifest.json")["run_id"]
    assert "base evaluation: reused from" in capsys.readouterr().out


def test_a_run_killed_before_its_first_checkpoint_keeps_the_base_answers(
    tmp_path, monkeypatch, toy_run, evaluations
):
    killed_in(training, "train", tmp_path / "1", HELD_OUT, monkeypatch=monkeypatch)
    assert cli.main(["finish", str(tmp_path / "1")]) == 0
    assert len(evaluations) == 2  # the base by the first, the trained by the second
    assert read_json(tmp_path / "1-finished" / "run_manifest.json")["resumed_from"]["step"] == 0
    assert bits(tmp_path / "1-finished") == bits(toy_run)


def test_an_answer_that_was_altered_meanwhile_is_given_again(tmp_path, monkeypatch, toy_run, evaluations):
    killed_in(training, "train", tmp_path / "1", HELD_OUT, monkeypatch=monkeypatch)
    answers = tmp_path / "1" / "predictions" / "base.jsonl"
    answers.write_text(answers.read_text().replace('"id"', ' "id"', 1))
    assert cli.main(["finish", str(tmp_path / "1")]) == 0
    assert len(evaluations) == 3
    assert bits(tmp_path / "1-finished") == bits(toy_run)


def test_answers_from_other_inputs_are_given_again(tmp_path, monkeypatch, evaluations):
    killed_in(training, "train", tmp_path / "1", HELD_OUT, monkeypatch=monkeypatch)
    record = tmp_path / "1" / "stages" / "base_evaluation.json"
    was = read_json(record)
    record.write_text(json.dumps(was | {"inputs": was["inputs"] | {"code": {"version": "0.0.9"}}}))
    assert cli.main(["finish", str(tmp_path / "1")]) == 0
    assert len(evaluations) == 3
    made = read_json(tmp_path / "1-finished" / "stages" / "base_evaluation.json")
    assert made["inputs"] == was["inputs"]
    assert made["made_by"] == read_json(tmp_path / "1-finished" / "run_manifest.json")["run_id"]


def test_a_run_that_left_nothing_is_done_anew_and_says_so(tmp_path, monkeypatch, capsys, toy_run):
    killed_in(score, "evaluate", tmp_path / "1", HELD_OUT, monkeypatch=monkeypatch)
    assert cli.main(["finish", str(tmp_path / "1")]) == 0
    assert "left no checkpoint and no finished stage" in capsys.readouterr().out
    assert read_json(tmp_path / "1-finished" / "run_manifest.json")["resumed_from"] is None
    assert bits(tmp_path / "1-finished") == bits(toy_run)


def test_an_evaluation_alone_is_finished_too(tmp_path, monkeypatch, evaluations):
    killed_in(comparison, "eval_summary", tmp_path / "1", "mode=eval", monkeypatch=monkeypatch)
    assert cli.main(["finish", str(tmp_path / "1")]) == 0
    assert verify(tmp_path / "1-finished") == []
    assert len(evaluations) == 1


def test_what_cannot_be_finished_is_refused(tmp_path, toy_run, capsys):
    assert cli.main(["finish", str(toy_run)]) == 2
    assert "nothing is missing: the run is completed" in capsys.readouterr().err
    assert cli.main(["finish", str(tmp_path / "nowhere")]) == 2
    assert "there is no run" in capsys.readouterr().err


def test_a_run_without_the_words_of_its_command_is_refused(tmp_path, monkeypatch, capsys):
    killed_in(score, "evaluate", tmp_path / "1", monkeypatch=monkeypatch)
    (tmp_path / "1" / ".hydra" / "overrides.yaml").write_text("{")
    assert cli.main(["finish", str(tmp_path / "1")]) == 2
    assert "holds no list of what the command overrode" in capsys.readouterr().err


def test_what_another_run_has_finished_is_not_done_a_second_time(tmp_path, monkeypatch, capsys):
    killed_in(training, "train", tmp_path / "1", HELD_OUT, monkeypatch=monkeypatch)
    assert cli.main(["finish", str(tmp_path / "1")]) == 0
    capsys.readouterr()
    assert cli.main(["finish", str(tmp_path / "1")]) == 2
    whole = tmp_path / "1-finished"
    assert f"nothing is missing: {whole} went on from the run to its end" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "1-finished"]


def test_what_a_run_that_went_on_has_done_is_kept(tmp_path, monkeypatch, capsys, evaluations):
    killed_in(training, "train", tmp_path / "1", HELD_OUT, monkeypatch=monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr(comparison, "eval_summary", die)
        with pytest.raises(Killed):
            cli.main(["finish", str(tmp_path / "1")])
    assert len(evaluations) == 2
    assert cli.main(["finish", str(tmp_path / "1")]) == 0
    assert len(evaluations) == 2
    assert f"{tmp_path / '1-finished'} went on from {tmp_path / '1'}, and did not" in capsys.readouterr().out
    assert verify(tmp_path / "1-finished-2") == []
