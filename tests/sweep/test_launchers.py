"""Whichever launcher runs the jobs of a sweep, in this process or in others, it ends in the same way."""

import os
import shutil
import signal
import tempfile
import time

import psutil
import pytest
from hydra.errors import MissingConfigException

from tests.composing import options
from tests.forking import Forked
from tests.running import TOY, read_json
from tests.sweep.killed import FILES, but_for_times, resume
from tunix_exp import cli
from tunix_exp.cli import launchers
from tunix_exp.cli.composing import plainly
from tunix_exp.sweep.state import standings

SHIPPED = ("joblib_processes", "ray_cluster", "ray_local", "slurm", "submitit_processes")
ONE_FAILS = ("-m", *TOY, "optim.peak_lr=1e-3,x")
# Options of an experiment: a line that is no JSON, a rate and a decay by which weights grow without bounds.
FOUR = {
    "whole": "seed: 1",
    "malformed": "data:\n  source: FOLDER/malformed.jsonl",
    "overflowing": "optim:\n  peak_lr: 1000.0\n  weight_decay: 1000.0",
    "killed": "seed: 2",
}


def process_of(root, number):
    """The number of the process that runs the job, by its claim."""
    return read_json(root / "claims" / f"{number}.1.worker.json")["pid"]


def statuses(root):
    return [job["status"] for job in read_json(root / "summary.json")["jobs"]]


def same_summary(root, other):
    for name in FILES:
        assert but_for_times(root, name) == but_for_times(other, name)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A sweep in one process, of a job that completes and one that fails."""
    root = tmp_path_factory.mktemp("sweep") / "alone"
    assert cli.main([*ONE_FAILS, f"hydra.sweep.dir={root}"]) == 1
    assert statuses(root) == ["completed", "failed"]
    return root


def test_the_launchers_that_are_ready_to_use_were_found():
    assert sorted(SHIPPED) == options("hydra/launcher")


@pytest.mark.parametrize("name", SHIPPED)
def test_a_launcher_composes_over_the_one_that_it_is_made_of(name, capfd):
    assert cli.main([f"hydra/launcher={name}", "--cfg", "hydra", "-p", "hydra.launcher"]) == 0
    said = capfd.readouterr()
    assert "_target_: hydra_plugins.hydra_" in said.out
    assert "Warning" not in said.err


@pytest.mark.parametrize("name", launchers.OF_THE_EXTRA)
def test_a_launcher_that_is_not_installed_is_refused_with_the_remedy(name):
    missing = MissingConfigException(
        "no such file", missing_cfg_file=f"hydra/launcher/{name}", options=["basic"]
    )
    says = f"the launcher `{name}` is not installed\n  where: hydra/launcher\n  remedy: uv sync --extra sweep"
    assert str(plainly(missing)) == says


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("device=cpu,gpu",), "job 1 takes JAX_PLATFORMS='cuda', job 0 JAX_PLATFORMS='cpu'"),
        (("device=cpu,gpu", "hydra/launcher=joblib_processes", "hydra.launcher.n_jobs=1"), "job 1 takes"),
        (
            ("seed=x,1", "device.matmul_precision=default,highest"),
            "job 3 takes JAX_DEFAULT_MATMUL_PRECISION=",
        ),
        (
            ("hydra/sweeper=study", "seed=choice(1,2)", "device.matmul_precision=choice(highest,default)"),
            "device.matmul_precision=highest takes JAX_DEFAULT_MATMUL_PRECISION='highest', seed=1 JAX_",
        ),
    ],
)
def test_several_device_configs_in_one_process_are_refused_before_a_job_begins(words, says, tmp_path, capfd):
    assert cli.main(["-m", *TOY, f"hydra.sweep.dir={tmp_path}", *words]) == 2
    said = capfd.readouterr().err
    assert says in said
    assert "hydra/launcher=joblib_processes, submitit_processes, slurm, ray_local or ray_cluster" in said
    assert not list(tmp_path.iterdir())


def test_processes_that_serve_several_jobs_get_those_of_one_device_config(tmp_path, monkeypatch):
    done, begun = [], launchers.instantiated

    def launch(words, initial_job_idx):
        done.append([initial_job_idx, len(words)])
        return []

    def instantiated(*given):
        launcher = begun(*given)
        launcher.launch = launch
        return launcher

    monkeypatch.setattr(launchers, "instantiated", instantiated)
    monkeypatch.setattr(launchers, "end_kept", lambda: done.append("others"))
    words = ["device.matmul_precision=default,highest", "seed=x,1,2", "hydra/launcher=joblib_processes"]
    assert cli.main(["-m", *TOY, f"hydra.sweep.dir={tmp_path}", *words]) == 1
    # two seeds of each, and the two jobs whose seed is no number go with whichever is first
    assert done == [[0, 4], "others", [4, 2]]


@pytest.mark.slow
def test_slurm_sends_what_a_run_heeds_and_jobs_that_it_does_not_take_are_missing(tmp_path):
    root, script = tmp_path / "sweep", tmp_path / "script"
    commands = {"srun": "true", "sbatch": f"cp $1 {script}; echo no such partition >&2; exit 1"}
    for name, does in commands.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / name).chmod(0o755)
    environ = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    # submitit closes the streams that pytest hands to a test
    apart = Forked("-m", *TOY, "seed=0,1", "hydra/launcher=slurm", f"hydra.sweep.dir={root}", environ=environ)
    assert apart.wait() == 1, apart.said
    assert "#SBATCH --signal=USR1@120\n" in script.read_text()
    assert "the launcher stopped: FailedJobError: no such partition" in apart.said
    assert statuses(root) == ["missing", "missing"]


@pytest.mark.slow
def test_joblib_s_processes_end_in_the_same_summary(alone, tmp_path):
    words = ("hydra/launcher=joblib_processes", f"hydra.sweep.dir={tmp_path}")
    apart = Forked(*ONE_FAILS, *words)
    assert apart.wait() == 1, apart.said
    assert "Warning" not in apart.said
    same_summary(tmp_path, alone)
    again = resume(tmp_path)
    assert again.wait() == 1, again.said
    assert sorted(path.name for path in (tmp_path / "attempts").iterdir()) == ["1.1"]


@pytest.mark.slow
def test_joblib_s_processes_serve_several_device_configs(tmp_path):
    words = ("mode=preflight", "device.matmul_precision=default,highest", "hydra/launcher=joblib_processes")
    apart = Forked("-m", *TOY, *words, f"hydra.sweep.dir={tmp_path}")
    assert apart.wait() == 0, apart.said
    assert statuses(tmp_path) == ["completed", "completed"]


@pytest.mark.slow
def test_a_ray_cluster_of_its_own_ends_in_the_same_summary_and_leaves_nothing(alone, tmp_path):
    place = tempfile.mkdtemp(prefix="ray-")  # in it lie sockets, whose paths are short
    words = (
        "hydra/launcher=ray_local", "hydra.launcher.ray.init.num_cpus=1",
        f"+hydra.launcher.ray.init._temp_dir={place}", f"hydra.sweep.dir={tmp_path}",
    )  # fmt: skip
    apart = Forked(*ONE_FAILS, *words, environ={**os.environ, "RAY_AUTH_MODE": "disabled"})
    assert apart.wait() == 1, apart.said
    same_summary(tmp_path, alone)
    assert process_of(tmp_path, 0) != process_of(tmp_path, 1)
    until = time.monotonic() + 60
    while left := [one for one in psutil.process_iter(["cmdline"]) if place in str(one.info["cmdline"])]:
        assert time.monotonic() < until, left
        time.sleep(0.1)
    shutil.rmtree(place)


@pytest.mark.slow
def test_bad_data_a_loss_that_is_no_number_and_a_kill_end_their_jobs_alone(tmp_path):
    (tmp_path / "experiment").mkdir()
    for name, keys in FOUR.items():
        text = f"# @package _global_\n{keys.replace('FOLDER', str(tmp_path))}\n"
        (tmp_path / "experiment" / f"{name}.yaml").write_text(text)
    (tmp_path / "malformed.jsonl").write_text('{"id": "1", "question": "q"}\nno\n')
    words = ("--config-dir", str(tmp_path), "-m", *TOY, "training.save_every_steps=2")
    words = (*words, f"experiment={','.join(FOUR)}")
    never, root = tmp_path / "never", tmp_path / "sweep"
    assert cli.main([*words, f"hydra.sweep.dir={never}"]) == 1
    assert statuses(never) == ["completed", "failed", "failed", "completed"]

    apart = Forked(*words, f"hydra.sweep.dir={root}", "hydra/launcher=submitit_processes")
    while not (root / "3" / "checkpoints" / "2").is_dir():
        assert apart.poll() is None, apart.said
        time.sleep(0.002)
    os.kill(process_of(root, 3), signal.SIGKILL)
    assert apart.wait() == 1, apart.said
    assert "the launcher stopped: UncompletedJobError: " in apart.said
    assert statuses(root) == ["completed", "failed", "failed", "interrupted"]
    malformed, overflowing = (read_json(root / "summary.json")["jobs"][number]["error"] for number in (1, 2))
    assert "malformed.jsonl:2: bad JSON" in malformed["message"]
    assert "gradient norm" in overflowing["message"]
    kept = (root / "0" / "run_manifest.json").read_bytes()

    again = resume(root)
    assert again.wait() == 1, again.said
    same_summary(root, never)
    assert (root / "0" / "run_manifest.json").read_bytes() == kept
    assert sorted(path.name for path in (root / "attempts").iterdir()) == ["1.1", "2.1", "3.1"]
    assert read_json(root / "3" / "run_manifest.json")["resumed_from"]["step"] == 2
    assert [one.attempts for one in standings(root)] == [1, 2, 2, 2]
