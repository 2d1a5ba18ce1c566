import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunix_exp.errors import UserError
from tunix_exp.evidence.manifest import LATER_FIELDS, RunManifest, config_hash, parse_manifest
from tunix_exp.evidence.rules import NULL_BY_MODE, NULL_BY_NATURE, rule_breaches
from tunix_exp.evidence.sections import ItemsEval, Mode, NoEval


@pytest.fixture
def plain(completed_run: Path) -> dict[str, Any]:
    return json.loads((completed_run / "run_manifest.json").read_text(encoding="utf-8"))


@pytest.fixture
def alter(plain: dict[str, Any]) -> Callable[..., RunManifest]:
    def altered(**keys: object) -> RunManifest:
        for key, value in keys.items():
            section, _, leaf = key.partition("__")
            if leaf and plain[section] is None:
                assert section in NULL_BY_NATURE
            elif leaf:
                plain[section][leaf] = value
            else:
                plain[section] = value
        return parse_manifest(json.dumps(plain))

    return altered


def _leaves(value: dict[str, Any], prefix: str = "") -> list[str]:
    found = []
    for name, part in value.items():
        found.append(prefix + name)
        if isinstance(part, dict) and name not in ("files", "versions", "times_s"):
            found += _leaves(part, f"{prefix}{name}.")
    return found


def test_a_run_that_opens_meets_the_rules_of_running(opening_manifest: RunManifest) -> None:
    assert opening_manifest.status == "running"
    assert rule_breaches(opening_manifest, status="running") == []


def test_a_run_that_opens_could_not_claim_to_be_completed(opening_manifest: RunManifest) -> None:
    breaches = rule_breaches(opening_manifest, status="completed")
    assert "`headline` is null, but the run is `completed`" in breaches
    assert "`devices` is null, but the run is `completed`" in breaches


def test_every_null_of_a_completed_full_run_is_one_by_nature(plain: dict[str, Any]) -> None:
    tried = 0
    for key in _leaves(plain):
        altered = json.loads(json.dumps(plain))
        target, *rest = key.split(".")
        section = altered[target] if rest else altered
        section[rest[0] if rest else target] = None
        try:
            manifest = parse_manifest(json.dumps(altered))
        except UserError:
            continue  # the schema itself allows no null there
        tried += 1
        said = f"`{key}` is null, but the run is `completed`" in rule_breaches(manifest, status="completed")
        assert said == (key not in NULL_BY_NATURE), key
    assert tried >= 25


@pytest.mark.parametrize(("mode", "sections"), [("eval", 6), ("preflight", 11)])
def test_a_mode_may_leave_null_what_it_does_not_make(
    alter: Callable[..., RunManifest], mode: Mode, sections: int
) -> None:
    for key in NULL_BY_MODE[mode]:
        alter(**{key.replace(".", "__"): None})
    manifest = alter(mode=mode)
    assert rule_breaches(manifest, status="completed") == []
    assert len(rule_breaches(alter(mode="full"), status="completed")) == sections


@pytest.mark.parametrize("status", ["failed", "interrupted"])
def test_a_run_that_did_not_finish_needs_an_error_record(opening_manifest: RunManifest, status: Any) -> None:
    breaches = rule_breaches(opening_manifest, status=status)
    assert f"`error` is null, but the run is `{status}`" in breaches
    assert f"`finished_at` is null, but the run is `{status}`" in breaches


def test_a_completed_run_has_no_error_record(alter: Callable[..., RunManifest]) -> None:
    error = {"stage": "train", "type": "E", "message": "m", "where": None, "remedy": None}
    breaches = rule_breaches(alter(error=error), status="completed")
    assert breaches == ["`error` is not null, but the run is `completed`"]


def test_a_run_without_eval_has_no_headline(alter: Callable[..., RunManifest]) -> None:
    manifest = alter(eval={"kind": "none"})
    assert isinstance(manifest.eval, NoEval)
    assert rule_breaches(manifest, status="completed") == [
        "`headline` is not null, but nothing was evaluated"
    ]
    assert rule_breaches(alter(headline=None), status="completed") == []


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"code__git_commit": "a" * 40}, "must both be known or both be null"),
        ({"code__git_commit": "a" * 40, "code__git_dirty": True}, "exactly when `code.git_dirty` is true"),
        (
            {"model__weights": "hub:org/name@main"},
            "`model.revision` is null, but the weights are from the Hub",
        ),
    ],
)
def test_a_contradiction_is_named(
    alter: Callable[..., RunManifest], changes: dict[str, object], says: str
) -> None:
    assert any(says in breach for breach in rule_breaches(alter(**changes), status="completed"))


def test_every_wrong_key_is_named_at_once(plain: dict[str, Any]) -> None:
    plain["surplus"] = 1
    plain["seed"] = "3"
    del plain["kaggle"]
    with pytest.raises(UserError, match="the manifest does not follow its schema") as caught:
        parse_manifest(json.dumps(plain))
    assert all(key in caught.value.what for key in ("`surplus`", "`seed`", "`kaggle`"))


def test_the_config_hash_does_not_depend_on_the_order_of_keys() -> None:
    assert config_hash({"a": 1, "b": {"c": 2.5}}) == config_hash({"b": {"c": 2.5}, "a": 1})
    assert config_hash({"a": 1}) != config_hash({"a": 2})


def test_the_config_hash_refuses_a_number_that_is_not_finite() -> None:
    with pytest.raises(UserError, match=r"`optim\.eps` is nan"):
        config_hash({"optim": {"eps": float("nan")}})


def test_a_manifest_of_version_1_is_read_with_what_it_did_not_record_absent(plain: dict[str, Any]) -> None:
    plain["schema_version"] = 1
    for key in ("elapsed_s", "console_lost", "findings"):
        del plain[key]
    del plain["eval"]["stop"]
    old = parse_manifest(json.dumps(plain))
    assert isinstance(old.eval, ItemsEval)
    assert (old.elapsed_s, old.findings, old.eval.stop) == (None, None, None)
    assert rule_breaches(old, status="completed") == []


@pytest.mark.parametrize("key", LATER_FIELDS[:4])
def test_a_manifest_of_version_2_has_every_field(plain: dict[str, Any], key: str) -> None:
    *section, leaf = key.split(".")
    del (plain[section[0]] if section else plain)[leaf]
    with pytest.raises(UserError, match="does not follow its schema"):
        parse_manifest(json.dumps(plain))


def test_a_completed_run_of_version_2_knows_its_findings(plain: dict[str, Any]) -> None:
    manifest = parse_manifest(json.dumps(plain | {"findings": None}))
    assert rule_breaches(manifest, status="completed") == ["`findings` is null, but the run is `completed`"]
