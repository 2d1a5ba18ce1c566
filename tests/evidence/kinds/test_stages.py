"""A record of a stage is of the files that lie there, and of a run that this one knows."""

import json
import shutil

import pytest

from tests.resealing import reseal
from tunix_exp.evidence.verify import verify

RECORD = "stages/base_evaluation.json"


@pytest.fixture
def run(toy_run, tmp_path):
    return shutil.copytree(toy_run, tmp_path / "run")


def forge(run, **changed):
    record = json.loads((run / RECORD).read_text())
    (run / RECORD).write_text(json.dumps(record | changed))
    reseal(run)
    return [f"{one.file}: {one.what}" for one in verify(run)]


def test_a_record_has_the_hash_of_every_file_of_its_stage(run):
    assert json.loads((run / RECORD).read_text())["files"].keys() == {
        "predictions/base.jsonl",
        "heldout/base.jsonl",
    }
    found = forge(run, files={"predictions/base.jsonl": "0" * 64})
    assert f"predictions/base.jsonl: is not the file whose hash {RECORD} has" in found


def test_a_stage_of_another_run_is_one_that_this_one_went_on_from_or_a_job_of_its_sweep(run):
    found = forge(run, made_by="another-0001")
    says = "is of run another-0001, but `resumed_from` of run_manifest.json is null, and the run is no job"
    assert f"{RECORD}: {says} of a sweep" in found
    hydra = run / ".hydra" / "hydra.yaml"
    hydra.write_text(hydra.read_text().replace("\n  mode: RUN\n", "\n  mode: MULTIRUN\n"))
    assert forge(run) == []
    # what is repeated from the evidence of a job is no job itself
    original = {"run_id": "job-0001", "manifest_sha256": "0" * 64, "steps": None}
    reseal(run, lambda manifest: manifest.update(replay_of=original))
    assert f"{RECORD}: {says} of a sweep" in forge(run)


def test_its_inputs_are_those_that_the_manifest_has(run):
    inputs = json.loads((run / RECORD).read_text())["inputs"]
    for key, value in (("weights", ["0" * 64]), ("items", {"kind": "none"}), ("versions", {})):
        says = f"{RECORD}: `inputs.{key}` is {value!r}, but run_manifest.json says "
        assert any(says in one for one in forge(run, inputs=inputs | {key: value}))
    assert any("`inputs.code` is None" in one for one in forge(run, inputs={}))


def test_a_record_that_lacks_what_it_must_say_is_named(run):
    assert any(f"{RECORD}: " in one and "`inputs` is None: " in one for one in forge(run, inputs=None))
