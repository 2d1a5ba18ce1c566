"""The unfinished run that this one goes on from, and that both stand on the same inputs."""

from tunix_exp.config import RunConfig
from tunix_exp.device import hosts
from tunix_exp.evidence import layout
from tunix_exp.evidence import sections as records
from tunix_exp.evidence.run_directory import RunDirectory
from tunix_exp.evidence.strict_json import read_json_object
from tunix_exp.training import resume


def found_parent(config: RunConfig, evidence: RunDirectory) -> resume.Parent | None:
    """The run that `training.resume` names or finds; the manifest says which."""
    plain = read_json_object(evidence.root / layout.CONFIG, file=layout.CONFIG)
    # Beside the directory lie runs that come and go: what process 0 finds, all take.
    found = resume.find(config.training.resume, plain, evidence.root) if evidence.is_kept else None
    named = hosts.agreed("resume", lambda: None if found is None else str(found.line[0]))
    parent = found if evidence.is_kept or named is None else resume.find(named, plain, evidence.place)
    if parent is None:
        evidence.log.say("training.resume=auto: no unfinished run with this config, starting at step 0")
        return None
    evidence.update(resumed_from=records.ResumedFrom(run_id=parent.run_id, step=parent.step))
    evidence.log.say(f"training.resume={config.training.resume} {parent.describe()}")
    return parent


def read_facts(tokenizer_digest: str, evidence: RunDirectory) -> dict[str, object]:
    """What was read, by the keys of the manifest: a resumed run reads what its parent did."""
    data, items = evidence.manifest.data, evidence.manifest.eval
    assert data is not None
    facts: dict[str, object] = {"data.sha256": data.sha256, "data.rows": data.rows}
    if isinstance(items, records.ItemsEval | records.HarnessEval):
        facts["eval.sha256"] = items.sha256
    return facts | {"model.tokenizer_digest": tokenizer_digest}


def loaded_facts(evidence: RunDirectory) -> dict[str, object]:
    """What was loaded, in the same way."""
    model, adapter = evidence.manifest.model, evidence.manifest.adapter
    assert model is not None
    facts: dict[str, object] = {"model.base_weight_hash": model.base_weight_hash}
    return facts if adapter is None else facts | {"adapter.files": adapter.files}
