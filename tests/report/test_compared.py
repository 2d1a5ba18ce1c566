import yaml

from tests.report.page.run_folder import CONFIG, answers, write_folder
from tunix_exp import cli
from tunix_exp.report.compared import compared
from tunix_exp.sweep.config import SweepConfig

BY = SweepConfig(metric="primary_score", goal=None)


def write(root, name, *, lr, seed, correct, typed=True):
    optim = CONFIG["optim"] | {"peak_lr": lr, "warmup_steps": round(10 * lr)}
    config = CONFIG | {"seed": seed, "name": f"nano-{name}", "optim": optim}
    run = write_folder(
        root / name,
        base=answers("-" * len(correct)),
        trained=answers(correct),
        config=config,
        manifest={"status": "completed", "seed": seed},
    )
    words = [f"optim.peak_lr={lr}", f"seed={seed}", "training.steps=4"] if typed else []
    words += ["sweep.goal=minimize"] if name == "c" else []  # decides nothing of a run
    (run / ".hydra").mkdir(exist_ok=True)
    (run / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump(words))
    return run


def four(root, **changes):
    return [
        write(root, "a", lr=0.1, seed=0, correct="++------", **changes),
        write(root, "b", lr=0.2, seed=0, correct="++++++--", **changes),
        write(root, "c", lr=0.1, seed=1, correct="++++----", **changes),
        write(root, "d", lr=0.2, seed=1, correct="++++++++", **changes),
    ]


def test_runs_that_differ_in_their_seed_alone_are_an_arm(tmp_path):
    summary = compared(four(tmp_path), BY)
    assert summary is not None
    assert [arm["arm"] for arm in summary["arms"]] == ["optim.peak_lr=0.1", "optim.peak_lr=0.2"]
    assert [(arm["mean"], arm["over_seeds"]["n"]) for arm in summary["arms"]] == [(0.375, 2), (0.875, 2)]
    assert summary["best"]["arm"] == "optim.peak_lr=0.2"
    assert summary["best"]["runner_up"]["over_items"]["comparisons"] == 1


def test_arms_are_named_by_the_config_where_the_words_do_not_tell_them_apart(tmp_path):
    summary = compared(four(tmp_path, typed=False), BY)
    assert summary is not None
    assert [arm["settings"] for arm in summary["arms"]] == [
        {"optim.peak_lr": "0.1", "optim.warmup_steps": "1"},
        {"optim.peak_lr": "0.2", "optim.warmup_steps": "2"},
    ]


def test_without_two_runs_of_one_arm_there_are_no_arms(tmp_path):
    assert compared(four(tmp_path)[:2], BY) is None


def test_compare_prints_the_arms_and_draws_them(tmp_path, monkeypatch, capsys):
    runs = [str(run) for run in four(tmp_path)]
    monkeypatch.chdir(tmp_path)
    assert cli.main(["compare", *runs]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "optim.peak_lr=0.2 2/2 87.5 %" in printed
    assert "p = 0.0312" in printed
    page = (tmp_path / "compare.html").read_text()
    assert "primary score, % against optim.peak_lr" in page
