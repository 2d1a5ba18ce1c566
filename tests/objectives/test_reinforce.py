"""An objective that samples from the policy, rewards in Python, and takes two updates on what it sampled."""

import os
import signal

import jax
import numpy as np
import pytest
from matplotlib.figure import Figure

from tests.composing import composed
from tests.objectives.registering import registered
from tests.running import TOY, bits, read_json, read_jsonl, run
from tunix_exp.config import validate
from tunix_exp.errors import UserError
from tunix_exp.report.curves import draw_curves
from tunix_exp.stages import training

WORDS = (
    *TOY, "objective.name=reinforce", "+objective.beta=0.1", "optim.peak_lr=0.01",
    "training.steps=8", "training.save_every_steps=4",
)  # fmt: skip
LORA = ("adapter=lora", "adapter.targets=[attention]")


@pytest.fixture(scope="module", autouse=True)
def _registered():
    with registered("reinforce"):
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reinforce") / "run"
    assert run(folder, *WORDS) == 0
    return folder


def own(folder, name):
    return [row[name] for row in read_jsonl(folder / "metrics.jsonl")]


def test_what_was_sampled_is_kept_before_it_is_learnt_from(whole):
    lines = read_jsonl(whole / "rollouts.jsonl")
    # of each batch, at the first of its two updates
    assert [line["step"] for line in lines] == [step for step in (1, 3, 5, 7) for _ in range(4)]
    assert all(line["reward"] == (line["token"] % 2 == 0) for line in lines)
    means = [float(np.mean([line["reward"] for line in lines[at : at + 4]])) for at in range(0, 16, 4)]
    assert own(whole, "reward") == [mean for mean in means for _ in range(2)]


def test_the_second_update_on_a_batch_is_off_the_policy_that_sampled_it(whole):
    ratios = own(whole, "largest_ratio")
    assert all(abs(ratio - 1) < 1e-4 for ratio in ratios[::2])
    assert any(abs(ratio - 1) > 1e-3 for ratio in ratios[1::2])


def test_the_reference_is_the_model_before_the_first_update(whole):
    distances = own(whole, "log_ratio")
    assert abs(distances[0]) < 1e-5
    assert abs(distances[-1]) > 1e-3


def test_a_resumed_run_samples_and_learns_to_the_bit(whole, tmp_path):
    assert run(tmp_path / "a", *WORDS, "training.stop_at_step=4") == 130
    assert run(tmp_path / "b", *WORDS, f"training.resume={tmp_path / 'a'}") == 0
    same(tmp_path / "b", whole, after=4)


def same(resumed, whole, *, after):
    found, expected = bits(resumed), bits(whole)
    assert found["metrics"] == expected["metrics"][after:]
    assert found["weights"] == expected["weights"]
    lines = [line for line in read_jsonl(whole / "rollouts.jsonl") if line["step"] > after]
    assert read_jsonl(resumed / "rollouts.jsonl") == lines
    for name in ("reward", "log_ratio", "largest_ratio"):
        assert own(resumed, name) == own(whole, name)[after:]


def test_a_signal_between_two_updates_waits_until_the_batch_is_done(whole, tmp_path, monkeypatch):
    write = training._write_row

    def interrupting(row, *others):
        write(row, *others)
        if row.step == 2:  # settled while the third update runs, the first on its batch
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(training, "_write_row", interrupting)
    assert run(tmp_path / "a", *WORDS, "training.save_every_steps=null") == 130
    monkeypatch.undo()
    (saved,) = (path.name for path in (tmp_path / "a" / "checkpoints").iterdir() if path.name.isdigit())
    assert saved == "4"
    words = (*WORDS, "training.save_every_steps=null", f"training.resume={tmp_path / 'a'}")
    assert run(tmp_path / "b", *words) == 0
    same(tmp_path / "b", whole, after=4)


def test_a_checkpoint_holds_the_objective_s_own_state(whole):
    import orbax.checkpoint as ocp

    reader = ocp.CheckpointManager(whole / "checkpoints", item_handlers=ocp.StandardCheckpointHandler())
    saved = reader.restore(8, args=ocp.args.StandardRestore())
    reader.close()
    assert {name for name in saved if name.startswith("own.")} == {"own.key", "own.mean"}
    first = jax.random.key_data(jax.random.key(0))
    assert not np.array_equal(saved["own.key"], first)


def test_beside_an_adapter_the_reference_is_the_model_without_it(tmp_path):
    assert run(tmp_path / "run", *WORDS, *LORA) == 0
    distances = own(tmp_path / "run", "log_ratio")
    assert abs(distances[0]) < 1e-5
    assert abs(distances[-1]) > 1e-4


def test_the_reference_is_counted_in_the_plan(whole, tmp_path):
    words = [word for word in WORDS if "objective" not in word]
    assert run(tmp_path / "sft", *words, "mode=preflight") == 0
    plain, ours = (read_json(folder / "plan.json") for folder in (tmp_path / "sft", whole))
    parameters = [plan["planned"]["parameters_bytes"] for plan in (plain, ours)]
    assert parameters[1] == 2 * parameters[0]


def test_the_page_names_every_metric_of_the_objective_with_unit_and_direction(whole):
    page = (whole / "report.html").read_text()
    for key, heading in {
        "loss": "Loss <small>per answer</small>",
        "grad_norm": "Gradient norm <small>before clipping</small>",
        "answers": "Answers <small>answers</small>",
        "reward": "Reward <small>higher is better</small>",
        "log_ratio": "Distance to the reference <small>nats</small>",
        "largest_ratio": "Largest probability ratio</h3>",
    }.items():
        assert f'<h3 id="chart-{key}">{heading}' in page


def test_the_picture_draws_every_metric_of_the_objective(whole, tmp_path, monkeypatch):
    axes = []
    plain = Figure.subplots_adjust

    def seen(figure, **where):
        axes[:] = [figure]
        plain(figure, **where)

    monkeypatch.setattr(Figure, "subplots_adjust", seen)
    draw_curves(whole, tmp_path / "curves.png")
    titled = {axis.get_title(loc="left"): axis for axis in axes[0].axes}
    for title, key in {
        "Loss, per answer": "loss",
        "Learning rate": "lr",
        "Gradient norm, before clipping": "grad_norm",
        "Throughput, tokens per second": "tokens_per_s",
        "Answers, answers": "answers",
        "Reward, higher is better": "reward",
        "Distance to the reference, nats": "log_ratio",
        "Largest probability ratio": "largest_ratio",
    }.items():
        values = own(whole, key)
        assert list(titled[title].lines[0].get_ydata()) == values
        bottom, top = titled[title].get_ylim()
        assert bottom <= min(values) <= max(values) <= top


@pytest.mark.parametrize("key", ["training.steps", "training.save_every_steps", "training.stop_at_step"])
def test_a_step_between_two_updates_on_one_batch_is_refused(key):
    words = [word for word in WORDS if not word.startswith(f"{key}=")]
    with pytest.raises(UserError) as caught:
        validate(composed(*words, f"{key}=7"))
    found = str(caught.value)
    assert f"`{key}=7`" in found
    assert "`objective.name=reinforce`" in found
    assert "the objective takes 2 updates on each batch, and a run saves and ends between batches; " in found
    assert f"make {key} a multiple of 2" in found
    validate(composed(*words, f"{key}=6"))
