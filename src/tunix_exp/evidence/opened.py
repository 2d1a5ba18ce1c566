"""A run directory opened to be checked: each file read once, nothing in it trusted."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from tunix_exp.errors import UserError
from tunix_exp.evidence import layout
from tunix_exp.evidence.kinds.kind import Absent, Facts, Kind
from tunix_exp.evidence.kinds.read import read_lines, read_object, read_rows
from tunix_exp.evidence.manifest import RunManifest
from tunix_exp.evidence.sections import Status
from tunix_exp.evidence.strict_json import BrokenFile, canonical_json, read_json_object, read_text

_Read = TypeVar("_Read")
_ROUNDING = 1e-9
_BUNDLED = Path(__file__).parents[1] / "data" / "bundled"


@dataclass(frozen=True)
class OpenedRun:
    """The files of one run, and the status that they are checked against.

    `kinds_of` gives the kinds of evidence that a run of a config has. `is_sealed` is false while the run
    itself asks whether it may end: the seal comes after the answer.
    """

    root: Path
    manifest: RunManifest
    status: Status
    kinds_of: Callable[[Mapping[str, Any]], tuple[Kind, ...]]
    is_sealed: bool
    _kept: dict[tuple[str, str], Any] = field(default_factory=dict)

    @cached_property
    def facts(self) -> Facts:
        """What decides which files the run holds."""
        says = self.manifest
        try:
            config = self.config
        except (UserError, Absent):
            config = {}
        return Facts(
            status=self.status,
            mode=says.mode,
            eval_kind="none" if says.eval is None else says.eval.kind,
            took_no_step=says.took_no_step,
            is_replay=says.replay_of is not None,
            config=config,
        )

    @cached_property
    def kinds(self) -> tuple[Kind, ...]:
        """The kinds of evidence that it may have."""
        return self.kinds_of(self.facts.config)

    @property
    def first_step(self) -> int:
        """The step that the run began after."""
        return 0 if self.manifest.resumed_from is None else self.manifest.resumed_from.step

    @cached_property
    def files(self) -> set[str]:
        """Every file by its name, the manifest among them; the seal is none."""
        return set(layout.files_of(self.root)) | {layout.MANIFEST}

    @cached_property
    def digests(self) -> dict[str, str]:
        """The sha256 of every one of `files`, as it lies there now."""
        return {name: layout.file_digest(self.root / name) for name in sorted(self.files)}

    @property
    def config(self) -> dict[str, Any]:
        """The resolved config."""
        path, name = self.root / layout.CONFIG, layout.CONFIG
        return self.once("object", name, lambda: read_json_object(path, file=name))

    def has(self, name: str) -> bool:
        """Whether the file, or anything in the folder, is there."""
        return layout.has_file(name, self.files)

    def text(self, name: str) -> str:
        """The file as UTF-8."""
        return self.once("text", name, lambda: read_text(self.root / name, file=name))

    def object(self, kind: Kind) -> dict[str, Any]:
        """The object in the kind's file."""
        return self.once("object", kind.path, lambda: read_object(kind, self.root))

    def lines(self, kind: Kind) -> list[dict[str, Any]]:
        """The lines of the kind's file, as they stand there."""
        return self.once("lines", kind.path, lambda: read_lines(kind, self.root))

    def rows(self, kind: Kind) -> list[Any]:
        """The lines of the kind's file, as values of its schema."""
        return self.once("rows", kind.path, lambda: read_rows(kind, self.root))

    def once(self, how: str, name: str, read: Callable[[], _Read]) -> _Read:
        """What `read` makes of the file `name`, once for each `how`; `Absent` where there is no such file."""
        if not self.has(name):
            raise Absent(name)
        if (how, name) not in self._kept:
            self._kept[how, name] = read()
        return self._kept[how, name]

    def setting(self, key: str) -> Any:
        """The config's value under a dotted key; a `BrokenFile` where there is none."""
        return lookup(self.config, key, layout.CONFIG)

    def setting_if_any(self, key: str) -> Any:
        """The same; `None` where the config has no such key, as one of an older version may not."""
        try:
            return self.setting(key)
        except BrokenFile:
            return None

    def count(self, key: str) -> int | None:
        """The config's count under a dotted key, or null."""
        value = self.setting(key)
        if value is not None and (type(value) is not int or value < 1):
            raise BrokenFile(layout.CONFIG, f"`{key}` is {value!r}, not a count")
        return value


def lookup(value: Any, key: str, file: str) -> Any:
    """The part of `value` under a dotted key; a `BrokenFile` that names `file` where there is none."""
    for part in key.split("."):
        if not isinstance(value, dict) or part not in value:
            raise BrokenFile(file, f"has no `{key}`")
        value = value[part]
    return value


def differs(name: str, found: Any, other: str, due: Any) -> Iterator[str]:
    """A sentence where `name`, which is `found`, and `other`, which is `due`, are not one value.

    As a float, an integer of many digits is the float next to it.
    """
    if type(found) is float and type(due) is int:
        due = float(due)
    if canonical_json(found, file=name) != canonical_json(due, file=name):
        yield f"`{name}` is {found!r:.200}, but {other} says {due!r:.200}"


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


def bundled(source: str) -> bytes | None:
    """The bytes of a set that is shipped with the package, lines ended by LF; `None` for other sources."""
    file = _BUNDLED / f"{source.removeprefix('bundled:')}.jsonl"
    if not source.startswith("bundled:") or not file.is_file():
        return None
    return file.read_bytes().replace(b"\r\n", b"\n")
