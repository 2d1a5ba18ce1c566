"""What is said of a kind of evidence: its file, when a run has it, its schema, its checks, its readers."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from tunix_exp.evidence.sections import Finding, Mode, Status
from tunix_exp.schema import Config

if TYPE_CHECKING:
    from tunix_exp.evidence.opened import OpenedRun

Due = Literal["must", "may", "never"]
EvalKind = Literal["items", "harness", "none"]


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A file of the run directory, and what is wrong with it."""

    file: str
    what: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What decides which files a run holds; `config` is empty where it cannot be read."""

    status: Status
    mode: Mode | None
    eval_kind: EvalKind
    took_no_step: bool
    is_replay: bool
    config: Mapping[str, Any]

    @property
    def trains(self) -> bool:
        """Whether the mode trains a model."""
        return self.mode in ("full", "smoke")

    @property
    def computes(self) -> bool:
        """Whether the mode loads a model at all."""
        return self.mode != "preflight"


class Line(Config):
    """A line of numbers by step; a kind may allow more keys than it names, numbers all of them."""


When = Callable[[Facts], Due]
# What a check finds: in the kind's own file, in words; in another file, by its name.
Found = Iterator[Disagreement | str]


class Absent(Exception):
    """A file that a check reads is not there: the check ends, and that it is missing is said elsewhere."""


# Integrity: what must follow from other facts. A disagreement fails the run.
Check = Callable[["OpenedRun"], Found]
# Sanity: what is odd, and could come from an honest run on a strange machine. It fails nothing.
Look = Callable[["OpenedRun"], Iterator[Finding]]


@dataclass(frozen=True, slots=True)
class Compared:
    """What a replay must repeat to the bit.

    Of lines with a `step` every figure but `leaves_out`, under its own name or that of `names`; of lines with
    an `id` the whole line; of an object what `values` takes from it. A run that stops after n steps has lines
    up to step n − `lag`, and nothing `of_the_end`.
    """

    by: Literal["step", "id", "value"]
    leaves_out: frozenset[str] = frozenset()
    names: Mapping[str, str] = field(default_factory=dict)
    values: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict
    lag: int = 0
    of_the_end: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class Kind:
    """One kind of evidence.

    path        the file, or the folder with a slash at its end, of which `parts` must be there
    name        what messages call it
    holds       one sentence for readers
    when        whether a completed run must, may or may never have it
    also_at     other ends at which a run must have it: any run may, where it did not complete
    schema      of the object in a `.json`, of each line in a `.jsonl`: a model of pydantic, or a `from_dict`
    is_appended whether lines come one by one while the run goes on, else it is written whole
    curves      the prefix of its figures on TensorBoard, which has them too; none without
    is_open     whether it is still written to when the pages are drawn
    at_any_end  what is checked against other facts, however the run ended
    integrity   the same, of a completed run
    sanity      what is odd, and no fault
    compared    what a replay must repeat
    """

    path: str
    name: str
    holds: str
    when: When
    parts: tuple[str, ...] = ()
    also_at: frozenset[Status] = frozenset()
    schema: type[Any] | None = None
    is_appended: bool = False
    curves: str | None = None
    is_open: bool = False
    at_any_end: tuple[Check, ...] = ()
    integrity: tuple[Check, ...] = ()
    sanity: tuple[Look, ...] = ()
    compared: tuple[Compared, ...] = ()

    @property
    def files(self) -> tuple[str, ...]:
        """The names that must be there where the kind must."""
        return tuple(self.path + part for part in self.parts) or (self.path,)

    def has(self, file: str) -> bool:
        """Whether the file is of this kind."""
        return file.startswith(self.path) if self.path.endswith("/") else file == self.path

    def due(self, facts: Facts) -> Due:
        """Whether a run of these facts must, may or may never have it."""
        if facts.status == "completed":
            return self.when(facts)
        return "must" if facts.status in self.also_at else "may"


ANY_END: frozenset[Status] = frozenset({"running", "failed", "interrupted"})


def only(due: Due, fits: Callable[[Facts], bool], *, otherwise: Due = "never") -> When:
    """`due` for a completed run of such facts, `otherwise` for any other."""
    return lambda facts: due if fits(facts) else otherwise


always = only("must", lambda facts: True)
at_times = only("may", lambda facts: True)  # a check knows when it must
when_trained = only("must", lambda facts: facts.trains)
when_computed = only("must", lambda facts: facts.computes, otherwise="may")


def when_evaluated(kind: EvalKind, which: str) -> When:
    """A completed run has it when the model, `base` or `trained`, is evaluated on `kind`."""
    trained = which == "trained"
    return only("must", lambda run: run.eval_kind == kind and (run.trains if trained else run.computes))
