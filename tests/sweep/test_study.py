"""Jobs whose values Optuna chooses."""

import sys

import pytest

from tests.running import TOY, read_json
from tunix_exp import cli

WORDS = (
    *TOY, "hydra/sweeper=study", "hydra.sweeper.n_startup_trials=2", "sweep.metric=heldout_loss_nats",
    "optim.peak_lr=tag(log,interval(1e-4,1e-1))",
)  # fmt: skip


def rates(root):
    return [float(job["settings"]["optim.peak_lr"]) for job in read_json(root / "summary.json")["jobs"]]


def test_a_study_goes_on_to_its_total_with_the_choices_of_the_one_that_was_not_stopped(tmp_path, capsys):
    from tunix_exp.cli import study

    whole, half = tmp_path / "whole", tmp_path / "half"
    assert cli.main(["-m", f"hydra.sweep.dir={whole}", *WORDS, "hydra.sweeper.n_trials=4"]) == 0
    summary = read_json(whole / "summary.json")
    assert (summary["n_completed"], summary["goal"]) == (4, "minimize")
    assert len(set(rates(whole))) == 4
    assert all(1e-4 <= rate <= 1e-1 and rate == float(f"{rate:.6g}") for rate in rates(whole))
    told, tell = [], study.Study._tell

    def stopped(own, asked, jobs):
        told.append(jobs)
        if len(told) == 3:
            raise KeyboardInterrupt
        tell(own, asked, jobs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study.Study, "_tell", stopped)
        assert cli.main(["-m", f"hydra.sweep.dir={half}", *WORDS, "hydra.sweeper.n_trials=4"]) == 130
    capsys.readouterr()
    assert cli.main(["sweep", "show", str(half)]) == 0
    assert capsys.readouterr().out.endswith("2 of 4 jobs completed; 2 jobs of the study not chosen yet\n")
    assert cli.main(["sweep", "resume", str(half)]) == 0
    capsys.readouterr()
    assert cli.main(["sweep", "show", str(half)]) == 0
    assert capsys.readouterr().out.endswith("\n4 of 4 jobs completed\n")
    assert rates(half) == rates(whole)


def test_a_job_that_failed_gives_a_study_nothing_and_stops_nobody(tmp_path, capfd):
    words = [word for word in WORDS if not word.startswith("optim.peak_lr=")]
    words += ["hydra.sweeper.n_trials=3", "hydra.sweeper.seed=1", "optim.peak_lr=choice(1e-3,x)"]
    assert cli.main(["-m", f"hydra.sweep.dir={tmp_path}", *words]) == 1
    statuses = {job["status"] for job in read_json(tmp_path / "summary.json")["jobs"]}
    assert statuses == {"completed", "failed"}
    assert "3 jobs completed, " in capfd.readouterr().out


def test_without_optuna_a_study_is_refused_with_the_remedy(tmp_path, monkeypatch, capfd):
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert cli.main(["-m", f"hydra.sweep.dir={tmp_path}", *WORDS]) == 2
    assert (
        "optuna is not installed\n  where: hydra/sweeper=study\n  remedy: uv sync" in capfd.readouterr().err
    )


def test_a_study_without_evaluation_is_refused_the_metric_of_one(tmp_path, capfd):
    words = ["mode=smoke", "eval=none", "hydra/sweeper=study", "optim.peak_lr=interval(1e-4,1e-1)"]
    assert cli.main(["-m", f"hydra.sweep.dir={tmp_path}", *words]) == 2
    says = "no job of the study would have its metric: sweep.metric=primary_score, eval=none"
    assert says in capfd.readouterr().err


def test_a_number_is_chosen_as_it_can_be_typed_and_lies_in_its_interval():
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    from tunix_exp.cli.study import _rounded

    assert _rounded(0.0011781448719376517, FloatDistribution(1e-4, 1e-2)) == 0.00117814
    assert _rounded(0.99999999, FloatDistribution(0.9, 0.99999999)) == 0.99999999
    assert _rounded("0.12345678", CategoricalDistribution(["0.12345678"])) == "0.12345678"


def test_studies_of_other_seeds_share_no_choice():
    from tunix_exp.cli.study import _seed

    assert len({_seed(seed, number) for seed in range(10) for number in range(10)}) == 100


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["hydra.sweeper.n_trials=0"], "`hydra.sweeper.n_trials` = 0: input should be greater than or equal"),
        (["hydra.sweeper.seed=x"], "`hydra.sweeper.seed` = 'x': input should be a valid integer"),
        (["hydra.sweeper.max_batch_size=-1"], "`hydra.sweeper.max_batch_size` = -1: input should be greater"),
        (["+hydra.sweeper.trials=3"], "`hydra.sweeper.trials` is not a key — did you mean"),
        (["optim.beta1=interval(1,0.5)"], "from `optim.beta1=interval(1,0.5)`: `low <= high` must hold"),
        (["optim.beta1=tag(log,interval(0,1))"], "interval(0,1))`: `low > 0` must hold for `log=True`"),
        (["optim.beta1=interval(0,inf)"], "chosen from `optim.beta1=interval(0,inf)`: it has no end"),
        (["mode=eval", "sweep.metric=training_loss"], "its metric: sweep.metric=training_loss, mode="),
    ],
)  # fmt: skip
def test_a_study_that_cannot_be_is_refused_before_it_begins(words, says, tmp_path, capfd):
    assert cli.main(["-m", f"hydra.sweep.dir={tmp_path}", *WORDS, *words]) == 2
    assert says in capfd.readouterr().err
    assert list(tmp_path.iterdir()) == []
