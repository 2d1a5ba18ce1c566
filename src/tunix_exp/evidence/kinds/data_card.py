"""`data_card.json`: the training set and the held-out items: rows, lengths, what was cut or dropped."""

import hashlib
from typing import Any

from tunix_exp.evidence.kinds.kind import Found, Kind, when_computed
from tunix_exp.evidence.opened import OpenedRun, bundled, differs, lookup
from tunix_exp.evidence.sections import Mixture, Stage, digest_of_sets, steps_of
from tunix_exp.evidence.strict_json import BrokenFile

# The card's keys, and the manifest's for the same fact.
_AS_IN_MANIFEST = {
    "train.name": "data.name",
    "train.source": "data.source",
    "train.sha256": "data.sha256",
    "statistics.rows_kept": "data.rows",
    "tokenizer.digest": "model.tokenizer_digest",
    "eval.name": "eval.name",
    "eval.source": "eval.source",
    "eval.sha256": "eval.sha256",
    "eval.rows_read": "eval.rows",
}
# And the config's.
_AS_IN_CONFIG = {
    "fields": "data.fields",
    "template": "data.template",
    "limits.max_tokens": "data.max_tokens",
    "limits.too_long": "data.too_long",
    "overlap.allowed": "data.allow_eval_overlap",
    "tokenizer.reference": "model.tokenizer",
}
# The same, of keys that an earlier version did not have.
_SINCE = {"learn": "data.learn"}


def _settings(run: OpenedRun) -> Found:
    """The card has the manifest's facts and the config's settings."""
    card, says = run.object(KIND), run.manifest.model_dump(mode="json")
    for card_key, key in _AS_IN_MANIFEST.items():
        section, _, leaf = key.partition(".")
        if says[section] is None or leaf not in says[section]:
            continue  # nothing was evaluated, and the rules speak of data
        if section == "eval" and says["eval"]["kind"] != "items":
            continue  # the harness's documents are not rendered by the card's template
        found = lookup(card, card_key, KIND.path)
        yield from differs(card_key, found, f"the manifest (`{key}`)", says[section][leaf])
    recorded = {card: key for card, key in _SINCE.items() if run.setting_if_any(key) is not None}
    for card_key, key in (_AS_IN_CONFIG | recorded).items():
        yield from differs(
            card_key, lookup(card, card_key, KIND.path), f"config.json (`{key}`)", run.setting(key)
        )
    if run.setting("data.max_tokens") is None:
        row_tokens = lookup(card, "limits.row_tokens", KIND.path)
        longest = lookup(card, "statistics.total_tokens.max", KIND.path)
        if not longest <= row_tokens <= run.setting("model.num_positions"):
            yield f"rows of {row_tokens} tokens do not follow from {longest} of an example and the positions"


def _bundled(run: OpenedRun) -> Found:
    """The sets that are shipped with the package have the rows and the hash of the card."""
    card = run.object(KIND)
    for facts in (*train_facts(card).values(), lookup(card, "eval", KIND.path)):
        content = None if facts is None else bundled(lookup(facts, "source", KIND.path))
        if content is None:
            continue  # a file of the user's or a repository, which may have changed since
        due = {"sha256": hashlib.sha256(content).hexdigest(), "rows": content.count(b"\n")}
        for key, value in due.items():
            yield from differs(key, lookup(facts, key, KIND.path), "the bundled set", value)


def train_facts(card: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What the card says of each source of training rows, by the config key that names it."""
    train = lookup(card, "train", KIND.path)
    if not isinstance(train, dict) or "sets" not in train:
        return {"data.source": train}
    sets = train["sets"]
    if not isinstance(sets, dict):
        raise BrokenFile(KIND.path, f"`train.sets` is {sets!r:.200}, not sets by their names")
    return {f"data.mix.{name}.source": one for name, one in sets.items()}


def _mixture(run: OpenedRun) -> Found:
    """The sets of a mixture are the manifest's and the config's, and come to what is said of all."""
    data = run.manifest.data
    if not isinstance(data, Mixture):
        return
    card = run.object(KIND)
    facts, recorded = train_facts(card), data.sets
    places = {f"data.mix.{name}.source": one for name, one in recorded.items()}
    yield from differs("train.sets", sorted(facts), "the manifest", sorted(places))
    for key in places.keys() & facts.keys():
        for leaf, due in places[key].model_dump(mode="json").items():
            place = "statistics.rows_kept" if leaf == "rows" else leaf
            yield from differs(f"{key}, {place}", lookup(facts[key], place, KIND.path), "the manifest", due)
        turn, drawn = key.removesuffix(".source"), "steps" if isinstance(places[key], Stage) else "weight"
        due = {key: run.setting(key), f"{turn}.{drawn}": _due_turn(run, card, turn, drawn)}
        for set_key, value in due.items():
            leaf = set_key.rpartition(".")[2]
            said = lookup(facts[key], leaf, KIND.path)
            yield from differs(f"{key}, {leaf}", said, f"config.json (`{set_key}`)", value)
    digest = digest_of_sets({name: one.sha256 for name, one in recorded.items()})
    yield from differs("train.sha256", lookup(card, "train.sha256", KIND.path), "its sets'", digest)
    kept = lookup(card, "statistics.rows_kept", KIND.path)
    yield from differs("statistics.rows_kept", kept, "its sets'", sum(one.rows for one in recorded.values()))


def _due_turn(run: OpenedRun, card: dict[str, Any], turn: str, drawn: str) -> Any:
    """The weight of a set, or the steps of a stage: of one in epochs, as many as hold its rows so often."""
    epochs = run.setting_if_any(f"{turn}.epochs")
    if epochs is None:
        return run.setting(f"{turn}.{drawn}")
    rows = _count(card, f"batches.sets.{turn.removeprefix('data.mix.')}.rows")
    return steps_of(epochs, rows=rows, batch_size=run.setting("training.batch_size"))


def _split(run: OpenedRun) -> Found:
    """Rows that are held out of the training set and rows that are left add up to those that were read."""
    if run.setting_if_any("eval.share") is None:
        return
    card = run.object(KIND)
    same = {f"eval.{key}": f"train.{key}" for key in ("sha256", "hashed", "kind")}
    same["eval.rows"] = "train.counts.held_out"
    for key, other in same.items():
        yield from differs(key, lookup(card, key, KIND.path), f"`{other}`", lookup(card, other, KIND.path))
    read, kept, held_out, items = (
        _count(card, key)
        for key in ("train.rows_read", "statistics.rows_read", "eval.rows", "eval.rows_read")
    )
    yield from differs("train.rows_read", read, "the sum of the rows kept and held out", kept + held_out)
    is_repeated = "questions_of_earlier_items" in lookup(card, "eval.counts", KIND.path)
    repeated = _count(card, "eval.counts.questions_of_earlier_items") if is_repeated else 0
    most = run.count("eval.max_items") or held_out
    yield from differs("eval.rows_read", items, "the rows held out", min(held_out - repeated, most))


def _count(card: dict[str, Any], key: str) -> int:
    found = lookup(card, key, KIND.path)
    if type(found) is not int:
        raise BrokenFile(KIND.path, f"`{key}` is {found!r:.200}, not a count")
    return found


KIND = Kind(
    path="data_card.json",
    name="data card",
    holds="the training set: rows, lengths, what was cut or dropped",
    when=when_computed,
    integrity=(_settings, _bundled, _split, _mixture),
)
