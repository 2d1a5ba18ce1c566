"""`model=hf`: a folder of every family runs with no dimension typed, as if all had been typed."""

import json
import shutil
from pathlib import Path

import pytest
import tokenizers
import yaml
from safetensors.numpy import load_file, save_file

from tests.composing import composed
from tests.models.families.goldens import CONFIGS, GOLDENS
from tests.running import bits, read_json, run
from tunix_exp import cli
from tunix_exp.data.tokenizer import END_OF_TEXT, load_tokenizer
from tunix_exp.evidence.manifest import config_hash
from tunix_exp.evidence.verify import verify
from tunix_exp.models.families.registry import weight_maps

ASCII = 127  # the goldens have 128 tokens: a byte each, and one that ends a text
SMOKE = (
    "mode=smoke", "device=cpu", "device.compilation_cache=null", "adapter=none",
    "data=jsonl", "data.max_tokens=32", "eval=jsonl", "eval.max_items=1", "eval.max_new_tokens=2",
)  # fmt: skip


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> tuple[str, ...]:
    """The words that name a few rows and an item."""
    folder = tmp_path_factory.mktemp("rows")
    for name, numbers in (("train", range(4)), ("test", [5])):
        lines = [json.dumps({"question": f"{n}+1", "answer": str(n + 1)}) for n in numbers]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    return (f"data.source={folder / 'train.jsonl'}", f"eval.source={folder / 'test.jsonl'}")


def with_tokenizer(folder: Path) -> Path:
    """The folder, which from now on has a tokenizer of ASCII as well."""
    state = json.loads(load_tokenizer("bundled:bytes", chat="none").backend.to_str())
    vocabulary = {token: id_ for token, id_ in state["model"]["vocab"].items() if id_ < ASCII}
    state["model"]["vocab"] = vocabulary | {END_OF_TEXT: ASCII}
    state["added_tokens"][0]["id"] = ASCII
    (folder / "tokenizer.json").write_text(tokenizers.Tokenizer.from_str(json.dumps(state)).to_str())
    told = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": END_OF_TEXT}
    (folder / "tokenizer_config.json").write_text(json.dumps(told))
    return folder


def copy_of(family: str, folder: Path) -> Path:
    """The golden checkpoint with a tokenizer beside it."""
    shutil.copytree(GOLDENS / family, folder, ignore=shutil.ignore_patterns("lora", "expected.*", "curve.*"))
    return with_tokenizer(folder)


@pytest.mark.parametrize("family", CONFIGS)
def test_a_folder_of_every_family_runs_by_one_command(family, rows, tmp_path):
    folder = copy_of(family, tmp_path / "folder")
    assert run(tmp_path / "run", *SMOKE, *rows, "model=hf", f"model.weights={folder}") == 0
    assert verify(tmp_path / "run") == []
    config = read_json(tmp_path / "run" / "config.json")
    as_typed = CONFIGS[family].model_dump(mode="json") | {
        "name": "hf",
        "layer_loop": "scan",
        "remat": "auto",
    }
    as_typed |= weight_maps()[CONFIGS[family].family].unsaid
    as_typed |= {"weights": str(folder), "tokenizer": str(folder), "init_std": 0.02}
    assert config["model"] == as_typed
    manifest = read_json(tmp_path / "run" / "run_manifest.json")
    assert manifest["config_hash"] == config_hash(config | {"model": as_typed})
    assert (manifest["model"]["family"], manifest["status"]) == (CONFIGS[family].family, "completed")
    log = (tmp_path / "run" / "training_log.txt").read_text()
    assert f"model: from {folder}/config.json: family={CONFIGS[family].family}, " in log


@pytest.mark.slow
def test_a_run_of_a_folder_is_the_run_in_which_all_was_typed_and_repeats(rows, tmp_path, capsys):
    folder = copy_of("gemma3", tmp_path / "folder")
    words = (*SMOKE, *rows)
    assert run(tmp_path / "hf", *words, "model=hf", f"model.weights={folder}") == 0
    model = read_json(tmp_path / "hf" / "config.json")["model"]
    typed = [f"model.{key}={'null' if value is None else value}" for key, value in model.items()]
    assert (
        run(tmp_path / "typed", *words, "model=tiny-gemma3", *typed, "training=finetune", "optim=adamw") == 0
    )
    one, other = (read_json(tmp_path / name / "run_manifest.json") for name in ("hf", "typed"))
    # what a clock, a place or the words of the command decide
    others = {
        "run_id",
        "command",
        "started_at",
        "finished_at",
        "times_s",
        "tokens_per_s",
        "elapsed_s",
        "files",
    }
    others |= {"throughput", "peak_memory_bytes", "compiles", "findings"}
    assert {key for key in one if one[key] != other[key]} <= others
    assert bits(tmp_path / "hf") == bits(tmp_path / "typed")
    assert cli.main(["replay", str(tmp_path / "hf"), "--to", str(tmp_path / "again"), "--allow-paths"]) == 0
    assert bits(tmp_path / "again") == bits(tmp_path / "hf")
    # a replay has all that was recorded, and reads no config.json for it
    assert "model: from" not in (tmp_path / "again" / "training_log.txt").read_text()


@pytest.mark.slow
def test_a_run_of_a_folder_that_was_cut_short_is_finished(rows, tmp_path):
    folder = copy_of("gpt2", tmp_path / "folder")
    words = (*SMOKE, *rows, "model=hf", f"model.weights={folder}")
    stop = ("training.stop_at_step=1", "training.save_every_steps=1")
    assert run(tmp_path / "run", *words, *stop) == 130
    assert cli.main(["finish", str(tmp_path / "run")]) == 0
    one, other = (read_json(tmp_path / name / "config.json")["model"] for name in ("run", "run-finished"))
    assert one == other
    assert verify(tmp_path / "run-finished") == []


def test_every_job_of_a_sweep_has_its_own_folder_and_one_that_has_none_fails_alone(rows, tmp_path, capsys):
    folder = copy_of("gpt2", tmp_path / "folder")
    sweep = (f"hydra.sweep.dir={tmp_path / 'sweep'}", f"model.weights={folder},{tmp_path / 'none'}")
    assert cli.main(["-m", *SMOKE, *rows, "model=hf", "mode=preflight", *sweep]) == 1
    one, other = (tmp_path / "sweep" / number for number in "01")
    assert read_json(one / "config.json")["model"]["width"] == 32
    assert read_json(other / "run_manifest.json")["error"]["message"] == f"no folder {tmp_path / 'none'}"
    assert verify(one) == verify(other) == []


def test_a_preflight_looks_into_the_folder(rows, tmp_path):
    folder = copy_of("llama", tmp_path / "folder")
    words = (*SMOKE, *rows, "model=hf", f"model.weights={folder}", "mode=preflight", "data.max_tokens=null")
    assert run(tmp_path / "run", *words) == 0
    assert read_json(tmp_path / "run" / "plan.json")["fits"]
    tensors = load_file(folder / "model.safetensors")
    save_file(
        {name: value for name, value in tensors.items() if "norm" not in name}, folder / "model.safetensors"
    )
    assert run(tmp_path / "other", *words) == 1
    error = read_json(tmp_path / "other" / "run_manifest.json")["error"]
    assert error["stage"] == "weights"
    assert "norm.weight is missing, so final_norm/scale stays unfilled" in error["message"]


def test_what_the_folder_refuses_leaves_no_directory_behind(tmp_path, capsys):
    for words, says in (
        ((), "model.weights is null"),
        ((f"model.weights={GOLDENS / 'gpt2'}", "+model.width=64"), "n_embd is 32, model.width is 64"),
        ((f"model.weights={GOLDENS / 'gpt2'}", "model.family=llama"), "which is model.family=gpt2"),
        ((f"model.weights={GOLDENS / 'gpt2'}", "model.width=32"), "`+model.width=…` types a key that"),
    ):
        assert run(tmp_path / "run", *SMOKE, "model=hf", *words) == 2
        assert says in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_the_config_is_shown_whole_with_where_its_model_is_from(capsys):
    weights = GOLDENS / "gemma2"
    assert cli.main(["--cfg", "job", "model=hf", f"model.weights={weights}"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"# model: from {weights}/config.json: family=gemma2, ")
    assert yaml.safe_load(shown)["model"] == composed("model=hf", f"model.weights={weights}")["model"]
    assert cli.main(["--cfg", "job"]) == 0
    assert capsys.readouterr().out.startswith("name: ${model.name}-${data.name}\n")
    assert cli.main(["--cfg", "job", "--package", "model.name", "model=hf"]) == 0
    assert capsys.readouterr().out == "hf\n"


def in_shards(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    where = {name: f"model-{number % 2}.safetensors" for number, name in enumerate(sorted(tensors))}
    for file in set(where.values()):
        save_file({name: tensors[name] for name in tensors if where[name] == file}, folder / file)
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))


def with_old_keys(folder: Path) -> None:
    said = read_json(folder / "config.json")
    rope = said.pop("rope_parameters")
    said |= {"rope_theta": rope["full_attention"]["rope_theta"], "torch_dtype": said.pop("dtype")}
    said |= {"rope_local_base_freq": rope["sliding_attention"]["rope_theta"], "sliding_window_pattern": 3}
    del said["layer_types"], said["_sliding_window_pattern"]
    (folder / "config.json").write_text(json.dumps(said))


@pytest.mark.slow
@pytest.mark.parametrize("form", [in_shards, with_old_keys])
def test_a_folder_in_another_form_is_the_same_run(form, rows, tmp_path):
    folder = copy_of("gemma3", tmp_path / "folder")
    words = (*SMOKE, *rows, "model=hf", f"model.weights={folder}")
    assert run(tmp_path / "one", *words) == 0
    form(folder)
    assert run(tmp_path / "other", *words) == 0
    assert bits(tmp_path / "other") == bits(tmp_path / "one")
    one, other = (read_json(tmp_path / name / "run_manifest.json") for name in ("one", "other"))
    assert one["config_hash"] == other["config_hash"]


@pytest.mark.slow
def test_of_a_checkpoint_that_takes_pictures_the_text_part_is_trained_and_exported(rows, tmp_path):
    folder = copy_of("gemma3_multimodal", tmp_path / "folder")
    words = (*SMOKE, *rows, "model=hf", f"model.weights={folder}", "training.export=[hf]")
    assert run(tmp_path / "run", *words) == 0
    assert verify(tmp_path / "run") == []
    log = (tmp_path / "run" / "training_log.txt").read_text()
    assert "32 tensors of vision_tower and 2 tensors of multi_modal_projector left out" in log
    assert read_json(tmp_path / "run" / "export" / "hf" / "config.json")["model_type"] == "gemma3_text"
    assert run(tmp_path / "lora", *words, "adapter=lora", "training.export=[peft]") == 1
    error = read_json(tmp_path / "lora" / "run_manifest.json")["error"]
    assert error["where"] == "training.export"
    assert "an adapter is exported with the names of a text model's layers" in error["message"]
    assert "set training.export=[hf], which merges the adapter" in error["remedy"]
