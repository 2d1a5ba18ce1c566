"""A run directory opened to be checked: each file read once, nothing in it trusted."""

import html
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from tunix_exp.evidence import layout
from tunix_exp.evidence.board import BoardContent, read_board
from tunix_exp.evidence.manifest import ItemsEval, RunManifest, Status
from tunix_exp.evidence.metrics import HELDOUT_KEYS, KEYS, read_metrics
from tunix_exp.evidence.strict_json import BrokenFile, read_json_object, read_jsonl, read_text
from tunix_exp.scoring.harness import Outcome, Sample
from tunix_exp.scoring.paired import Evaluation, ItemLoss
from tunix_exp.scoring.scorecard import Prediction

_Read = TypeVar("_Read")
_ROUNDING = 1e-9
_BUNDLED = Path(__file__).parents[1] / "data" / "bundled"


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A file of the run directory, and what is wrong with it."""

    file: str
    what: str


@dataclass(frozen=True)
class OpenedRun:
    """The files of one run, and the status that they are checked against.

    `is_sealed` is false while the run itself asks whether it may end: the seal comes after the answer.
    """

    root: Path
    manifest: RunManifest
    status: Status
    is_sealed: bool
    _kept: dict[str, Any] = field(default_factory=dict)

    @property
    def evaluates(self) -> bool:
        """Whether held-out items were asked."""
        return isinstance(self.manifest.eval, ItemsEval)

    @property
    def asks(self) -> layout.Asks:
        """Whose questions the run asks."""
        return "none" if self.manifest.eval is None else self.manifest.eval.kind

    @cached_property
    def files(self) -> set[str]:
        """Every file by its name, the manifest among them; the seal is none."""
        return set(layout.files_of(self.root)) | {layout.MANIFEST}

    @cached_property
    def digests(self) -> dict[str, str]:
        """The sha256 of every one of `files`, as it lies there now."""
        return {name: layout.file_digest(self.root / name) for name in sorted(self.files)}

    @cached_property
    def config(self) -> dict[str, Any]:
        """The resolved config."""
        return self.json(layout.CONFIG)

    @cached_property
    def metrics(self) -> list[dict[str, Any]]:
        """The logged steps."""
        return read_metrics(self.root / layout.METRICS, file=layout.METRICS, keys=KEYS)

    @cached_property
    def heldout(self) -> list[dict[str, Any]]:
        """The held-out losses during the training; none where none was due."""
        if layout.HELDOUT not in self.files:
            return []
        return read_metrics(self.root / layout.HELDOUT, file=layout.HELDOUT, keys=HELDOUT_KEYS)

    @cached_property
    def board(self) -> BoardContent:
        """What the event files hold."""
        return read_board(self.root / layout.TENSORBOARD)

    def has(self, name: str) -> bool:
        """Whether the file, or anything in the folder, is there."""
        return layout.has_file(name, self.files)

    def text(self, name: str) -> str:
        """The file as UTF-8."""
        return self._once(name, lambda: read_text(self.root / name, file=name))

    def json(self, name: str) -> dict[str, Any]:
        """The object in the file."""
        return self._once(name, lambda: read_json_object(self.root / name, file=name))

    def predictions(self, name: str) -> list[Prediction]:
        """The answers in the file."""
        return self._once(name, lambda: self._rows(name, Prediction.from_dict))

    def losses(self, name: str) -> list[ItemLoss]:
        """The losses in the file."""
        return self._once(name, lambda: self._rows(name, ItemLoss.from_dict))

    def outcome(self, results: str, samples: str) -> Outcome:
        """What one model made of the harness's tasks."""
        return Outcome(self.json(results), self._once(samples, lambda: self._rows(samples, Sample.from_dict)))

    def evaluation(self, predictions: str, losses: str) -> Evaluation:
        """What one model made of the items."""
        return Evaluation(self.predictions(predictions), self.losses(losses))

    def tells(self, page: str, sentence: str) -> bool:
        """Whether the page, text or HTML by its name, says the sentence."""
        text = html.unescape(self.text(page)) if page.endswith(".html") else self.text(page)
        return _spaced(sentence) in _spaced(text)

    def setting(self, key: str) -> Any:
        """The config's value under a dotted key; a `BrokenFile` where there is none."""
        return lookup(self.config, key, layout.CONFIG)

    def count(self, key: str) -> int | None:
        """The config's count under a dotted key, or null."""
        value = self.setting(key)
        if value is not None and (type(value) is not int or value < 1):
            raise BrokenFile(layout.CONFIG, f"`{key}` is {value!r}, not a count")
        return value

    def _rows(self, name: str, read: Callable[..., _Read]) -> list[_Read]:
        rows = read_jsonl(self.root / name, file=name)
        return [read(row, where=f"line {line}") for line, row in enumerate(rows, start=1)]

    def _once(self, name: str, read: Callable[[], _Read]) -> _Read:
        if name not in self._kept:
            self._kept[name] = read()
        return self._kept[name]


Check = Callable[[OpenedRun], Iterator[Disagreement]]


def lookup(value: Any, key: str, file: str) -> Any:
    """The part of `value` under a dotted key; a `BrokenFile` that names `file` where there is none."""
    for part in key.split("."):
        if not isinstance(value, dict) or part not in value:
            raise BrokenFile(file, f"has no `{key}`")
        value = value[part]
    return value


def same_figures(due: Any, found: Any) -> bool:
    """Whether two values are the same; computed numbers may be rounded otherwise on another machine.

    What adds up in another order, by another processor's instructions or another version of NumPy, differs in
    the last of its sixteen digits, a sum of thousands in some more.
    """
    if isinstance(due, dict) and isinstance(found, dict):
        return due.keys() == found.keys() and all(same_figures(due[key], found[key]) for key in due)
    if isinstance(due, list | tuple) and isinstance(found, list | tuple):
        return len(due) == len(found) and all(map(same_figures, due, found))
    if type(due) is float and type(found) in (int, float):
        return math.isclose(due, found, rel_tol=_ROUNDING, abs_tol=_ROUNDING)
    return type(due) is type(found) and due == found


def _spaced(text: str) -> str:
    return text.replace("\N{NO-BREAK SPACE}", " ")


def bundled(source: str) -> bytes | None:
    """The bytes of a set that is shipped with the package, lines ended by LF; `None` for other sources."""
    file = _BUNDLED / f"{source.removeprefix('bundled:')}.jsonl"
    if not source.startswith("bundled:") or not file.is_file():
        return None
    return file.read_bytes().replace(b"\r\n", b"\n")
