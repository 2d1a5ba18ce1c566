import json

import pytest

from tests.report.run_files import MANIFEST, summary, write_run, write_summary
from tests.running import read_json
from tunix_exp.evidence.kinds.registry import KINDS
from tunix_exp.report.readme import readme
from tunix_exp.report.result import sentences, table
from tunix_exp.report.table import as_markdown


@pytest.fixture
def run(tmp_path):
    write_run(tmp_path, losses=[3.0, 1.0])
    write_summary(tmp_path)
    for name in [
        "curves.png",
        ".hydra/config.yaml",
        "tensorboard/events",
        "predictions/base.jsonl",
        "source.patch",
    ]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def write_origin(run):
    """The record of two runs before this one."""
    digest = {"manifest_sha256": "e" * 64, "trained_weight_hash": "f" * 64}
    says = {"place": "outputs/second", "part": "checkpoints/4", "step": 4, "is_exact": True}
    says |= {"tokenizer_digest": "a" * 64, "end_ids": [1]}
    says["chain"] = [{"run_id": name, "name": name, **digest} for name in ("second", "first")]
    (run / "origin.json").write_text(json.dumps(says))


def test_the_page_opens_with_the_name_the_sentence_and_the_comparison(run):
    text = readme(run)
    assert text.startswith(f"# nano\n\n**{sentences(summary())[0]}**\n\n{as_markdown(table(summary()))}\n\n")
    assert "![Loss, learning rate, gradient norm and throughput](curves.png)" in text


def test_held_out_rows_are_said_to_be_of_the_training_data(run):
    manifest = read_json(run / "run_manifest.json")
    manifest["eval"] |= {"name": "split", "source": "data", "rows": 1200}
    (run / "run_manifest.json").write_text(json.dumps(manifest))
    assert "| held-out items | `split`, 1,200 items held out of the training data |" in readme(run)


def test_items_whose_questions_were_trained_on_are_counted(run):
    card = {"overlap": {"training_questions_held_out": 0, "allowed": True}}
    (run / "data_card.json").write_text(json.dumps(card))
    assert "their questions in the training data" not in readme(run)
    card["overlap"]["training_questions_held_out"] = 2
    (run / "data_card.json").write_text(json.dumps(card))
    (line,) = [one for one in readme(run).splitlines() if one.startswith("| held-out items |")]
    assert line.endswith("; their questions in the training data: 2 rows |")


def test_the_page_says_what_was_run(run):
    text = readme(run)
    assert "| model | `nano-gpt2` (gpt2), weights `random`, 612,345 parameters |" in text
    rows = "from `bundled:nano-reasoning`, 5,700 rows, sha256 `cccccccccccc…` |"
    assert f"| training data | `nano-reasoning` {rows}" in text
    assert (
        "| held-out items | `nano-eval` from `bundled:nano-eval`, 4 items, sha256 `dddddddddddd…` |" in text
    )
    assert "| code | tunix_exp 0.1.0, commit `aaaaaaaaaaaa…`, with changes: `source.patch` |" in text
    assert "| peak memory | 1.0 GiB in the process |" in text
    assert "| throughput | 54,321 tokens/s (60,000 with padding), 0.25 s a step, MFU 43.2 % |" in text


def test_the_command_can_be_pasted_into_a_shell(run):
    text = readme(run)
    assert (
        "git checkout "
        + "a" * 40
        + "\ngit apply --allow-empty source.patch  # of this directory\nuv sync --locked\n"
        in text
    )
    assert "\npython -m tunix_exp 'data.template.prompt=Q: {question}'\n" in text


def test_the_page_says_how_to_verify_and_claims_no_end(run):
    text = readme(run)
    assert "python -m tunix_exp verify PATH" in text
    assert "completed" not in text.replace("Whether the run completed is", "")
    assert "Whether the run completed is recorded in `run_manifest.json` under `status`." in text


def test_every_file_is_in_the_table_folders_as_a_whole(run):
    (run / "own_notes.txt").touch()
    text = readme(run).partition("## Files")[2]
    for name in ["run_manifest.json", "README.md", "curves.png", ".hydra/", "tensorboard/", "metrics.jsonl"]:
        assert f"| `{name}` | " in text
    assert "| `own_notes.txt` | not made by this version |" in text
    assert "config.yaml" not in text
    assert "checkpoints/" not in text


def test_every_file_that_a_run_must_hold_is_described(tmp_path):
    write_run(tmp_path, losses=[1.0])
    write_summary(tmp_path)
    write_origin(tmp_path)
    described = [kind for kind in KINDS if not kind.path.startswith("harness")]
    for kind in described:
        for name in kind.files:
            path = tmp_path / (name + "part" if name.endswith("/") else name)
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                path.write_text("{}")
    text = readme(tmp_path)
    assert "not made by this version" not in text
    assert all(f"| `{kind.path}` | {kind.holds} |" in text for kind in described)


def test_the_runs_that_it_began_with_are_named_in_turn(run):
    write_origin(run)
    says = "`second` (checkpoints/4 after step 4), which began with `first`"
    assert f"| model of run | {says} |" in readme(run)


def test_a_run_that_just_began_has_a_page_without_results(tmp_path):
    early = dict.fromkeys(["model", "data", "eval", "devices", "peak_memory_bytes", "tokens_per_s"])
    code = {"version": "0.1.0", "git_commit": None, "git_dirty": None, "git_diff_sha256": None}
    code["lock_sha256"] = None
    (tmp_path / "run_manifest.json").write_text(json.dumps(MANIFEST | early | {"code": code}))
    text = readme(tmp_path)
    assert "| code | tunix_exp 0.1.0, outside a git checkout |" in text
    assert "git checkout" not in text.replace("outside a git checkout", "")
    assert "exact match" not in text
    assert "curves.png" not in text


def test_a_run_that_failed_says_so_first(tmp_path):
    error = {"stage": "train", "type": "UserError", "message": "no room", "where": None, "remedy": None}
    write_run(tmp_path, losses=[1.0], manifest=MANIFEST | {"status": "failed", "error": error})
    assert readme(tmp_path).startswith("# nano\n\n**This run failed** in stage `train`: no room\n\n")


def test_a_run_without_evaluation_names_no_held_out_items(tmp_path):
    write_run(tmp_path, losses=[1.0], manifest=MANIFEST | {"eval": {"kind": "none"}})
    assert "held-out" not in readme(tmp_path)
