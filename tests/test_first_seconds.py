"""What the config cannot show and the first look at the world can: refused before any training."""

import json
import os

import numpy as np
import pytest

from tests.running import TOY, read_json, run, run_toy
from tunix_exp.evidence import checkout
from tunix_exp.evidence.verify import verify


def rows(count=12, **changes):
    made = [
        {"id": f"r{i}", "question": f"Add {i} and 1", "steps": [f"{i}+1"], "answer": str(i + 1)}
        for i in range(count)
    ]
    for index, change in changes.items():
        made[int(index.removeprefix("row"))] |= change
    return [json.dumps(row) for row in made]


def refused(tmp_path, lines, *overrides):
    file = tmp_path / "train.jsonl"
    if lines is not None:
        file.write_text("\n".join(lines) + "\n")
    status = run_toy(tmp_path / "run", f"data.source={file}", *overrides)
    manifest = read_json(tmp_path / "run" / "run_manifest.json")
    assert status == 1
    assert manifest["status"] == "failed"
    assert not (tmp_path / "run" / "metrics.jsonl").exists()
    analysis = (tmp_path / "run" / "failure_analysis.md").read_text()
    assert manifest["error"]["stage"] in analysis
    return " ".join(str(manifest["error"][k]) for k in ("stage", "message", "where", "remedy"))


def test_good_rows_are_trained_on(tmp_path):
    (tmp_path / "train.jsonl").write_text("\n".join(rows()) + "\n")
    assert run_toy(tmp_path / "run", f"data.source={tmp_path / 'train.jsonl'}", *FIELDS) == 0


FIELDS = ("data.fields.category=null", "data.fields.difficulty=null")


def test_a_missing_data_file(tmp_path):
    assert "train.jsonl" in refused(tmp_path, None, *FIELDS)


def test_bad_json_at_line_7(tmp_path):
    lines = rows()
    lines[6] = '{"id": "r6", "question": '
    assert "train.jsonl:7" in refused(tmp_path, lines, *FIELDS)


def test_an_empty_answer(tmp_path):
    text = refused(tmp_path, rows(row3={"answer": " "}), *FIELDS)
    assert "train.jsonl:4" in text
    assert "empty" in text


def test_duplicate_ids(tmp_path):
    text = refused(tmp_path, rows(row5={"id": "r2"}), *FIELDS)
    assert "train.jsonl:6" in text
    assert "r2" in text


def test_a_training_question_that_is_held_out(tmp_path):
    text = refused(tmp_path, rows(row1={"question": "Say utun 3 times"}), *FIELDS, "eval.max_items=null")
    assert "1 of 12 training questions are held out" in text
    assert "data.allow_eval_overlap=true" in text


def test_examples_that_do_not_fit(tmp_path):
    text = refused(tmp_path, rows(row1={"steps": ["9" * 200]}), *FIELDS, "data.max_tokens=48")
    assert "longer than 48 tokens" in text


def test_an_unwritable_output(tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    assert run_toy(tmp_path / "file" / "run") == 2
    assert "the run directory cannot be written: Not a directory" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_directory_without_permission(tmp_path, capsys):
    (tmp_path / "closed").mkdir(mode=0o500)
    assert run_toy(tmp_path / "closed" / "run") != 0
    assert "cannot be written" in capsys.readouterr().err


def test_a_run_directory_in_use(tmp_path, capsys):
    assert run_toy(tmp_path / "run") == 0
    before = (tmp_path / "run" / "run_manifest.json").read_bytes()
    assert run_toy(tmp_path / "run") == 2
    assert "already holds a run" in capsys.readouterr().err
    assert (tmp_path / "run" / "run_manifest.json").read_bytes() == before


def test_a_checkout_that_differs_by_more_than_a_run_keeps(tmp_path, monkeypatch):
    patch = b"diff --git a/big.csv b/big.csv\n" + bytes(checkout.MOST_PATCH_BYTES)
    monkeypatch.setattr(checkout, "git_state", lambda *_, **__: checkout.GitState("a" * 40, patch))
    assert run_toy(tmp_path / "run") == 1
    manifest = read_json(tmp_path / "run" / "run_manifest.json")
    assert manifest["error"]["stage"] == "code"
    assert "differs from its commit by 5.0 MiB" in manifest["error"]["message"]
    assert "big.csv" in manifest["error"]["message"]
    assert verify(tmp_path / "run") == []


@pytest.mark.parametrize("device", ["gpu", "tpu"])
def test_a_device_that_is_not_here(tmp_path, device):
    # A process of its own: this one has JAX running on the CPU already.
    import subprocess
    import sys

    environ = {k: v for k, v in os.environ.items() if k != "JAX_PLATFORMS"}
    command = [sys.executable, "-m", "tunix_exp", f"device={device}", f"hydra.run.dir={tmp_path / 'run'}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environ)
    assert done.returncode == 1
    assert f"device={device} needs a {device.upper()}" in done.stdout
    assert f"uv sync --extra {'cuda' if device == 'gpu' else 'tpu'}" in done.stdout
    assert "Traceback" not in done.stderr
    assert read_json(tmp_path / "run" / "run_manifest.json")["error"]["stage"] == "device"


# ── data of one's own ──


def plain_rows(tmp_path, **more):
    lines = [{"question": f"What is {i} and 1?", "answer": str(i + 1), **more} for i in range(12)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    return tmp_path / "rows.jsonl"


def test_rows_of_one_s_own_are_trained_on_by_one_command(tmp_path):
    assert run_toy(tmp_path / "run", "data=jsonl", f"data.source={plain_rows(tmp_path)}") == 0
    card = read_json(tmp_path / "run" / "data_card.json")
    longest = card["statistics"]["total_tokens"]["max"]
    assert card["limits"] == {"max_tokens": None, "row_tokens": 32, "too_long": "error"}
    assert 16 < longest <= 32
    assert card["train"]["guessed"] == {"question": "question", "answer": "answer"}
    log = (tmp_path / "run" / "training_log.txt").read_text()
    assert f"data.max_tokens is 32: the longest example has {longest} tokens" in log
    found = "JSON lines; by the names of the fields: question from `question`, answer from `answer`"
    assert f"data.format: {found}" in log

    card["limits"]["row_tokens"] = longest - 1
    (tmp_path / "run" / "data_card.json").write_text(json.dumps(card))
    assert any("do not follow from" in str(found) for found in verify(tmp_path / "run"))


def test_reasoning_that_the_rows_have_is_read(tmp_path):
    rows_file = plain_rows(tmp_path, reasoning="Count on.")
    assert run_toy(tmp_path / "run", "data=jsonl", f"data.source={rows_file}") == 0
    assert read_json(tmp_path / "run" / "data_card.json")["train"]["fields"]["reasoning"] == "reasoning"
    assert "Count on." in (tmp_path / "run" / "example.txt").read_text()


def test_reasoning_that_some_rows_lack(tmp_path):
    lines = rows(row2={"reasoning": "1 and 2"})
    text = refused(tmp_path, lines, "data.fields.reasoning=reasoning?", *FIELDS)
    assert "the field `reasoning` is missing" in text


def test_rows_that_are_longer_than_the_model_sees(tmp_path):
    text = refused(tmp_path, rows(row1={"answer": "9" * 200}), *FIELDS, "data.max_tokens=null")
    assert "1 of 12 examples are longer than 64 tokens" in text
    assert "model.num_positions=2" in text
    assert "data.too_long=drop leaves them out" in text


def test_a_smoke_run_without_an_evaluation(tmp_path):
    words = [word for word in TOY if not word.startswith(("eval.", "training."))]
    assert run(tmp_path / "run", *words, "mode=smoke", "eval=none") == 0
    assert verify(tmp_path / "run") == []


# ── weights ──────────────────────────────────────────────────────────────────────────────────────────

SHAPE = {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 64, "vocab_size": 257, "n_inner": 32}


@pytest.fixture
def checkpoint(tmp_path):
    """A Hugging Face folder of the toy model, and a way to write it with other tensors."""
    from safetensors.numpy import save_file

    folder = tmp_path / "weights"
    folder.mkdir()
    config = {"model_type": "gpt2", "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5, **SHAPE}
    (folder / "config.json").write_text(json.dumps(config))

    def write(change=lambda tensors: None):
        rng = np.random.default_rng(0)
        shapes = {
            "wte.weight": (257, 16), "wpe.weight": (64, 16), "ln_f.weight": (16,), "ln_f.bias": (16,),
            "h.0.ln_1.weight": (16,), "h.0.ln_1.bias": (16,),
            "h.0.ln_2.weight": (16,), "h.0.ln_2.bias": (16,),
            "h.0.attn.c_attn.weight": (16, 48), "h.0.attn.c_attn.bias": (48,),
            "h.0.attn.c_proj.weight": (16, 16), "h.0.attn.c_proj.bias": (16,),
            "h.0.mlp.c_fc.weight": (16, 32), "h.0.mlp.c_fc.bias": (32,),
            "h.0.mlp.c_proj.weight": (32, 16), "h.0.mlp.c_proj.bias": (16,),
        }  # fmt: skip
        tensors = {name: rng.normal(0, 0.1, shape).astype(np.float32) for name, shape in shapes.items()}
        change(tensors)
        save_file(tensors, folder / "model.safetensors")
        return folder

    return write


def with_weights(tmp_path, folder):
    status = run_toy(tmp_path / "run", f"model.weights={folder}")
    return status, read_json(tmp_path / "run" / "run_manifest.json")


def test_a_whole_checkpoint_is_loaded_and_its_files_are_hashed(tmp_path, checkpoint):
    status, manifest = with_weights(tmp_path, checkpoint())
    assert status == 0
    assert "model.safetensors" in manifest["model"]["files"]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda t: t.pop("h.0.mlp.c_fc.bias"), "h.0.mlp.c_fc.bias"),
        (lambda t: t.update({"h.0.extra.weight": np.zeros(3, np.float32)}), "h.0.extra.weight"),
        (lambda t: t.update({"ln_f.bias": np.zeros(17, np.float32)}), "ln_f.bias"),
    ],
    ids=["missing", "extra", "misshapen"],
)
def test_weights_that_do_not_fit(tmp_path, checkpoint, change, text):
    status, manifest = with_weights(tmp_path, checkpoint(change))
    assert status == 1
    assert manifest["error"]["stage"] == "weights"
    assert text in manifest["error"]["message"]


def test_a_checkpoint_of_another_size(tmp_path, checkpoint):
    folder = checkpoint()
    config = json.loads((folder / "config.json").read_text()) | {"n_head": 4}
    (folder / "config.json").write_text(json.dumps(config))
    status, manifest = with_weights(tmp_path, folder)
    assert status == 1
    assert "model.num_heads" in manifest["error"]["message"]


def test_names_of_special_tokens_in_rows_and_items_are_counted_in_the_log(tmp_path):
    name = "<|endoftext|>"
    rows_file = tmp_path / "rows.jsonl"
    lines = [{"question": f"{n}? {name}", "answer": str(n)} for n in range(12)]
    rows_file.write_text("\n".join(map(json.dumps, lines)))
    items = tmp_path / "items.jsonl"
    items.write_text(json.dumps({"question": "x?", "answer": name}) + "\n")
    words = ("data=jsonl", f"data.source={rows_file}", "eval=jsonl", f"eval.source={items}", "mode=preflight")
    assert run_toy(tmp_path / "run", *words) == 0
    log = (tmp_path / "run" / "training_log.txt").read_text()
    assert f"data: 12 rows hold the text of special tokens, read as text: {name} 12" in log
    assert f"eval: 1 row holds the text of special tokens, read as text: {name} 1" in log
    assert "learnt: response (" in log
    card = read_json(tmp_path / "run" / "data_card.json")
    assert card["statistics"]["special_names"] == {"rows": 12, "names": {name: 12}}
