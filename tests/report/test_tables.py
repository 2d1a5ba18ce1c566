import io
import json

import pytest
from rich.console import Console

from tests.report.run_files import MANIFEST, summary, write_run, write_summary
from tunix_exp.evidence.kinds.registry import KINDS
from tunix_exp.report.tables import comparison_table, readme


def printed(table):
    console = Console(file=io.StringIO(), width=100)
    console.print(table)
    return console.file.getvalue()  # type: ignore[attr-defined]


def cells(text, name):
    line = next(line for line in text.splitlines() if line.startswith(name))
    return line.removeprefix(name).split()


def test_the_table_sets_base_against_trained_overall_and_per_group():
    text = printed(comparison_table(summary()))
    overall = ["12", "25.0", "%", "91.7", "%", "+66.7", "+21.4…+85.7"]
    assert cells(text, "all items") == [*overall, "0.0078"]
    assert cells(text, "section core") == [*overall, "0.0234"]
    assert cells(text, "category addition")[:2] == ["11", "18.2"]
    assert cells(text, "held-out nats per token") == ["12", "3.2500", "0.5000", "-2.7500", "-2.822…-2.683"]
    assert "difficulty" not in text
    assert "the 3 groups' p are corrected together (Holm)" in " ".join(text.split())


def test_the_last_words_are_the_comparison_in_a_sentence_and_all_fits_80_columns():
    text = printed(comparison_table(summary()))
    sentence = summary()["comparison"]["sentence"]
    assert sentence.startswith("The trained model is better: 25.0 % → 91.7 % of 12 items right")
    assert " ".join(text.split()).endswith(sentence)
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80


def test_without_a_trained_model_only_the_base_stands_there():
    table = comparison_table(summary(with_trained=False))
    text = printed(table)
    assert len(table.columns) == 3
    assert cells(text, "all items") == ["12", "25.0", "%"]
    assert cells(text, "held-out nats per token") == ["12", "3.2500"]
    assert "trained" not in text
    assert "Holm" not in text
    assert "change" not in text
    assert " ".join(text.split()).endswith("25.0 % of 12 items right")


def test_below_a_table_of_few_columns_a_sentence_has_the_room_of_a_wide_one():
    sentence = "A sentence of more letters than three columns of the table are wide."
    measured = {"verdict": "held", "run_id": "X", "comparison": {"difference": 0.0}, "sentence": sentence}
    told = summary(with_trained=False) | {"baseline": measured}
    assert printed(comparison_table(told)).splitlines()[-1].rstrip() == sentence


def test_a_baseline_has_the_last_word():
    told = summary() | {"baseline": {"sentence": "Against the baseline X this run has held."}}
    text = " ".join(printed(comparison_table(told)).split())
    assert text.endswith(f"{summary()['comparison']['sentence']} Against the baseline X this run has held.")


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


def test_the_page_opens_with_the_name_the_sentence_and_the_comparison(run):
    text = readme(run)
    sentence = summary()["comparison"]["sentence"]
    assert text.startswith(f"# nano\n\n**{sentence}**\n\n|  | items | base |")
    assert "| all items | 12 | 25.0 % | 91.7 % | +66.7 | +21.4…+85.7 | 0.0078 |" in text
    assert "| `category a\\|b` | 1 |" in text
    assert "Paired bootstrap of 1,000 draws, exact McNemar; the 3 groups' p are corrected" in text
    assert "![Loss, learning rate, gradient norm and throughput](curves.png)" in text


def test_the_page_says_what_was_run(run):
    text = readme(run)
    assert "| model | `nano-gpt2` from `random`, 612,345 parameters |" in text
    assert (
        "| training data | `nano-reasoning` from `bundled:nano-reasoning`, 5,700 rows, sha256 `cccc" in text
    )
    assert "| held-out items | `nano-eval` from `bundled:nano-eval`, 4 items, sha256 `dddd" in text
    assert "| code | tunix_exp 0.1.0, commit `aaaaaaaaaaaa`, changed (see `source.patch`) |" in text
    assert "| peak memory | 1.00 GiB in the process |" in text
    assert "| throughput | 54,321 tokens/s, 60,000 with the padding; 0.25 s a step, MFU 43.2 % |" in text


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
    assert "completed" not in text
    assert "Whether the run finished stands in `run_manifest.json` under `status`." in text


def test_every_file_is_in_the_table_folders_as_a_whole(run):
    (run / "own_notes.txt").touch()
    text = readme(run).partition("## What lies here")[2]
    for name in ["run_manifest.json", "README.md", "curves.png", ".hydra/", "tensorboard/", "metrics.jsonl"]:
        assert f"| `{name}` | " in text
    assert "| `own_notes.txt` | not made by this version |" in text
    assert "config.yaml" not in text
    assert "checkpoints/" not in text


def test_every_file_that_a_run_must_hold_is_described(tmp_path):
    write_run(tmp_path, losses=[1.0])
    write_summary(tmp_path)
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


def test_a_run_that_just_began_has_a_page_without_results(tmp_path):
    early = dict.fromkeys(["model", "data", "eval", "devices", "peak_memory_bytes", "tokens_per_s"])
    code = {"version": "0.1.0", "git_commit": None, "git_dirty": None, "git_diff_sha256": None}
    (tmp_path / "run_manifest.json").write_text(json.dumps(MANIFEST | early | {"code": code}))
    text = readme(tmp_path)
    assert "| code | tunix_exp 0.1.0, outside a git checkout |" in text
    assert "git checkout" not in text.replace("outside a git checkout", "")
    assert "items right" not in text
    assert "curves.png" not in text


def test_a_run_that_failed_says_so_first(tmp_path):
    error = {"stage": "train", "type": "UserError", "message": "no room", "where": None, "remedy": None}
    write_run(tmp_path, losses=[1.0], manifest=MANIFEST | {"status": "failed", "error": error})
    assert readme(tmp_path).startswith("# nano\n\n**This run failed** in stage `train`: no room\n\n")


def test_a_run_without_evaluation_names_no_held_out_items(tmp_path):
    write_run(tmp_path, losses=[1.0], manifest=MANIFEST | {"eval": {"kind": "none"}})
    assert "held-out" not in readme(tmp_path)
