"""What cannot work is refused: by key or place, with the remedy and a status, in time, leaving no trace."""

import json
import os
import resource
import subprocess
import sys
from types import SimpleNamespace

import pytest

from tests.pace import slowness

# Each command is a process of its own: the status is a process's, and so is what it imports. All are forked
# from one that has imported what any command does.
_PROBE = """
import json, os, sys
from tunix_exp.cli import main
for line in sys.stdin:
    words, folder, *files = json.loads(line)
    pid = os.fork()
    if pid == 0:
        os.chdir(folder)
        for number, file in enumerate(files, start=1):
            os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        status = main(words)
        print(f"jax {'jax' in sys.modules}")
        sys.exit(status)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


@pytest.fixture(scope="module")
def typed(tmp_path_factory):
    """What a command, typed in a folder, leaves: its status, and what it prints and complains."""
    files = [tmp_path_factory.mktemp("said") / name for name in ("out", "err")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", _PROBE], **pipes) as process:

        def run(folder, *words):
            print(json.dumps([words, str(folder), *map(str, files)]), file=process.stdin, flush=True)
            status = int(process.stdout.readline())
            out, err = (file.read_text() for file in files)
            return SimpleNamespace(returncode=status, stdout=out, stderr=err)

        yield run
        process.stdin.close()


SHOWS = "--cfg job"
REFUSED = [
    ("optim.peak_lrr=1e-3", "`optim.peak_lrr` is not a key — did you mean `optim.peak_lr`?", SHOWS),
    ("batchsize=4", "is not a key — did you mean `eval.batch_size` or `training.batch_size`?", SHOWS),
    ("+model.bogus=1", "`model.bogus` is not a key", SHOWS),
    ("model=distilgtp2", "`model` has no option `distilgtp2` — did you mean `distilgpt2`?", "options: "),
    ("adapter=null", "`adapter` has no option `null`", "options: lora, none\n"),
    (
        "template=null",
        "`template` has no option `null`",
        "options: reasoning; for none of them leave the word out",
    ),
    ("model=5", "`model` has no option `5`", "options: distilgpt2"),
    ("modell=gpt2", "`modell` is not a key — did you mean `model`?", SHOWS),
    ("seed=abc", "`seed` = 'abc': input should be a valid integer", "where: config"),
    ("training.steps=2.5", "`training.steps` = 2.5: input should be a valid integer", "where: config"),
    (
        "training.epochs=1",
        "`training.steps=400` and `training.epochs=1.0` cannot be combined",
        "the other null",
    ),
    ("optim.accumulation_steps=7", "`training.batch_size=64` and `optim.accumulation_steps=7`", "a multiple"),
    ("verfy", "`verfy` is neither a verb nor key=value — did you mean `verify`?", "verbs: verify"),
    ("verify", "verify needs a run directory", "python -m tunix_exp verify"),
    (f"seed={'9' * 5000}", "a whole number has thousands of digits", "in quotes it is a text"),
    ("optim.peak_lr=[1", "`optim.peak_lr=[1` cannot be read: no viable alternative", "in quotes"),
    ("data.source=a (1).csv", "cannot be read: mismatched input", """: 'data.source="a (1).csv"'\n"""),
    ("data.source=é.csv", "`data.source=é.csv` cannot be read\n", """: 'data.source="é.csv"'\n"""),
    (
        "name=a,b",
        "`name=a,b` may be a text, a list or a sweep",
        """a text: 'name="a,b"'; a list: 'name=[a,b]'""",
    ),
]


@pytest.mark.parametrize(("word", "text", "remedy"), REFUSED, ids=[case[0][:40] for case in REFUSED])
def test_a_wrong_command_is_refused_at_once_without_jax_and_leaves_nothing(
    tmp_path, typed, word, text, remedy
):
    done = typed(tmp_path, word)
    assert done.returncode == 2, done.stderr
    assert text in done.stderr
    assert remedy in done.stderr
    assert "Traceback" not in done.stderr
    assert "jax False" in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [("-m", "template=reasoning,null"), ("data", "template=null")])
def test_no_name_of_an_option_is_refused_in_sweeps_and_verbs_too(tmp_path, typed, words):
    done = typed(tmp_path, *words)
    assert done.returncode == 2
    assert "error: `template` has no option `null`" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_config_of_a_sweep_cannot_be_shown(tmp_path, typed):
    done = typed(tmp_path, "-m", "--cfg", "job", "seed=0,1")
    assert done.returncode == 2
    assert "Only one of --run, --multirun, --cfg" in done.stderr
    assert "--cfg without -m" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_refusal_takes_a_second_and_a_half_at_most(tmp_path):
    command = [sys.executable, "-m", "tunix_exp", "seed=abc"]
    environ = os.environ | {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
    seconds = []
    for _ in range(3):  # the first byte-compiles
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, check=False)
        assert done.returncode == 2
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        # the processor's seconds, not the clock's: other processes share the machine
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(seconds) < 1.5 * slowness()


def test_a_directory_that_holds_a_run_is_refused_before_hydra_writes_into_it(tmp_path, typed):
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "run_manifest.json").write_text("{}")
    done = typed(tmp_path, "hydra.run.dir=used")
    assert done.returncode == 2
    assert "used already holds a run" in done.stderr
    assert "python -m tunix_exp finish used" in done.stderr
    done = typed(tmp_path, "-m", "hydra.sweep.dir=used/a/b")
    assert f"used/a/b lies in the directory of a run, {tmp_path / 'used'}" in done.stderr
    assert [p.name for p in (tmp_path / "used").iterdir()] == ["run_manifest.json"]


def test_a_sweep_directory_that_holds_runs_is_refused(tmp_path, typed):
    (tmp_path / "used" / "0").mkdir(parents=True)
    (tmp_path / "used" / "0" / "run_manifest.json").write_text("{}")
    done = typed(tmp_path, "-m", "seed=0,1", "hydra.sweep.dir=used")
    assert done.returncode == 2
    assert "already holds a run" in done.stderr


@pytest.mark.parametrize("words", ["optim.peak_lr=range(0,0)", "device=cpu,gpu", "sede=0,1"])
def test_a_sweep_that_is_refused_leaves_no_directory(tmp_path, typed, words):
    done = typed(tmp_path, "-m", words, "hydra.sweep.dir=new")
    assert done.returncode == 2
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_s_option_may_stand_between_the_words(tmp_path, typed):
    done = typed(tmp_path, "mode=smoke", "-m", "optim.peak_lr=range(0,0)")
    assert done.returncode == 2
    assert "the sweep has no jobs" in done.stderr


def test_help_lists_groups_options_and_ten_keys(tmp_path, typed):
    done = typed(tmp_path, "--help")
    assert done.returncode == 0
    for word in (
        "model: ",
        "distilgpt2",
        "optim: adafactor",
        "training.steps",
        "optim.peak_lr",
        "seed",
        "verify",
    ):
        assert word in done.stdout


def test_the_whole_config_is_shown_without_running(tmp_path, typed):
    done = typed(tmp_path, "--cfg", "job", "model=gpt2")
    assert done.returncode == 0
    assert "peak_lr: 2.0e-05" in done.stdout
    assert list(tmp_path.iterdir()) == []
