"""`model=gemma2b device=tpu`, without another word, is what its user means."""

import os
import subprocess
import sys

import pytest

from tests.composing import composed
from tests.running import read_json
from tunix_exp.config import validate

BARE = ("model=gemma2b", "device=tpu")


def program(*words, **environment):
    """The program in a process of its own: this one has JAX running on the CPU already."""
    environ = {k: v for k, v in os.environ.items() if k != "JAX_PLATFORMS"} | environment
    command = [sys.executable, "-m", "tunix_exp", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environ, timeout=600)


def test_it_trains_in_full_on_the_development_rows_and_scores_before_and_after():
    config = validate(composed(*BARE))
    assert config.mode.name == "full"
    assert config.model.name == "gemma2b"
    assert (config.data.name, config.data.source) == ("dev-reasoning-v2", "bundled:dev-reasoning-v2")
    assert (config.eval.kind, config.eval.name) == ("items", "eval-v2")
    assert config.device.platform == "tpu"
    assert config.data.template.chat == "none"


@pytest.mark.parametrize(
    ("words", "data", "evaluation"),
    [
        (("data=gsm8k",), "gsm8k", "eval-v2"),
        (("eval=gsm8k",), "dev-reasoning-v2", "gsm8k"),
        (("data=jsonl", "eval=none"), "jsonl", "none"),
    ],
)
def test_data_and_eval_on_the_command_line_win(words, data, evaluation):
    for order in ((*BARE, *words), (*words, *BARE)):
        plain = composed(*order)
        assert (plain["data"]["name"], plain["eval"]["name"]) == (data, evaluation)


@pytest.mark.parametrize("model", ["gemma2b-it", "gemma2-2b-it", "gemma3-1b-it"])
def test_an_instruction_tuned_model_brings_its_chat_to_whatever_data_and_the_command_line_wins(model):
    assert composed(f"model={model}")["data"]["template"]["chat"] == "gemma"
    assert composed("data=jsonl", f"model={model}")["data"]["template"]["chat"] == "gemma"
    assert composed(f"model={model}", "data.template.chat=none")["data"]["template"]["chat"] == "none"


@pytest.mark.parametrize("model", ["gemma2b", "gemma-2b", "gemma2-2b", "gemma3-270m", "gemma3-1b"])
def test_a_base_model_has_no_chat(model):
    assert composed(f"model={model}")["data"]["template"]["chat"] == "none"


def test_what_was_chosen_is_shown_without_running():
    done = program(*BARE, "--cfg", "job")
    assert done.returncode == 0
    for line in ("  source: bundled:dev-reasoning-v2", "  source: bundled:eval-v2", "  platform: tpu"):
        assert line in done.stdout.splitlines()
    assert "mode:\n  name: full\n" in done.stdout


def test_without_a_tpu_it_stops_at_once_and_says_what_to_type_instead(tmp_path):
    done = program(*BARE, f"hydra.run.dir={tmp_path / 'run'}")
    assert done.returncode == 1
    error = read_json(tmp_path / "run" / "run_manifest.json")["error"]
    assert error["stage"] == "device"
    assert error["message"].startswith("device=tpu needs a TPU")
    analysis = (tmp_path / "run" / "failure_analysis.md").read_text()
    assert "mode=preflight tells without a TPU" in analysis
    assert "Traceback" not in done.stdout + done.stderr


def test_without_a_tpu_its_preflight_takes_a_topology_openly_and_tells_that_it_fits(tmp_path):
    words = ("model=tiny-gemma", "device=tpu", "mode=preflight", f"hydra.run.dir={tmp_path / 'run'}")
    done = program(*words)
    assert done.returncode == 0
    plan = read_json(tmp_path / "run" / "plan.json")
    assert (plan["topology"], plan["fits"]) == ("v5e:2x4", True)
    assert plan["topology_reason"].startswith("device.topology_when_absent, as a TPU is asked for, and JAX")
    assert "topology v5e:2x4: device.topology_when_absent" in done.stdout
