"""What a compiled program moves and computes, by its text: every instruction as often as its loops run it.

XLA's own cost analysis counts the body of a loop once, however often it runs. Bytes are those between the
chip and its main memory: operands read and results written by each fused instruction; of an operand that is
read in slices the slices alone, of one that is written in place the part that is written, and of what the
compiler keeps on the chip (memory space 1) nothing. FLOPs are those of products of matrices.
"""

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

_BYTES = {
    "pred": 1, "s8": 1, "u8": 1, "s16": 2, "u16": 2, "bf16": 2, "f16": 2, "s32": 4, "u32": 4, "f32": 4,
    "s64": 8, "u64": 8, "f64": 8,
}  # fmt: skip
_ARRAY = re.compile(r"\b([a-z]+\d*)\[([\d,]*)\](?:\{([^}]*)\})?")
_INSTRUCTION = re.compile(r"^\s*(ROOT )?%([\w.-]+) = (.*)$")
# They name what is there, or are counted where the other half of the pair stands.
_FREE = frozenset(
    {
        "parameter", "constant", "get-tuple-element", "tuple", "bitcast", "after-all", "iota", "copy-done",
        "slice-done", "async-done", "partition-id", "replica-id", "opt-barrier", "all-gather-done",
        "all-reduce-done", "collective-permute-done", "add-dependency",
    }
)  # fmt: skip
_SLICING = frozenset({"dynamic-slice", "slice", "gather"})
# The part that is written, by its place among the operands.
_IN_PLACE = {"dynamic-update-slice": 1, "scatter": 2}


@dataclass(frozen=True)
class Array:
    """One array of a shape: its type, its sizes, and whether it lies in the main memory."""

    dtype: str
    sizes: tuple[int, ...]
    is_far: bool

    @property
    def bytes(self) -> int:
        return _bytes(self) if self.is_far else 0


@dataclass(frozen=True)
class Instruction:
    """One line of a computation."""

    name: str
    arrays: tuple[Array, ...]
    opcode: str
    operands: tuple[str, ...]
    text: str
    is_root: bool

    @property
    def bytes(self) -> int:
        """Of its result, in the main memory."""
        return sum(array.bytes for array in self.arrays)

    def called(self, key: str) -> str | None:
        found = re.search(rf"\b{key}=%([\w.-]+)", self.text)
        return None if found is None else found[1]

    @property
    def source(self) -> str:
        """The traced operation that it comes of."""
        found = re.search(r'op_name="([^"]*)"', self.text)
        return "" if found is None else found[1]


@dataclass
class Computation:
    """Instructions by name, in their order."""

    name: str
    instructions: dict[str, Instruction] = field(default_factory=dict)

    @property
    def root(self) -> Instruction:
        return next(one for one in self.instructions.values() if one.is_root)

    def users(self, name: str) -> list[Instruction]:
        return [one for one in self.instructions.values() if name in one.operands]

    @property
    def parameters(self) -> list[Instruction]:
        found = [one for one in self.instructions.values() if one.opcode == "parameter"]
        return sorted(found, key=lambda one: int(one.text.split("parameter(")[1].split(")")[0]))


@dataclass(frozen=True)
class Cost:
    """One instruction, how often it runs in all, and what it moves and computes each time.

    `loops` are those around it, the outermost first.
    """

    instruction: Instruction
    runs: int
    loops: tuple[Instruction, ...]
    bytes: int
    flops: int


# How often a loop runs, given the loops around it.
Trips = Callable[[Instruction, tuple[Instruction, ...]], int]


class Program:
    """A module's text, read; `costs` walks it from its entry."""

    def __init__(self, text: str) -> None:
        self.computations: dict[str, Computation] = {}
        self.entry = ""
        current = None
        for line in text.splitlines():
            head = re.match(r"^(ENTRY )?%([\w.-]+) \(.*\{$", line)
            if head is not None:
                current = self.computations[head[2]] = Computation(head[2])
                self.entry = head[2] if head[1] else self.entry
            elif current is not None and (found := _INSTRUCTION.match(line)) is not None:
                one = _instruction(found)
                current.instructions[one.name] = one
        self._flops: dict[str, int] = {}

    def costs(self, trips: Trips) -> Iterator[Cost]:
        """Of every instruction that runs; `trips` says how often a loop does whose condition does not."""
        yield from self._costs(self.entry, 1, (), trips)

    def _costs(
        self,
        name: str,
        runs: int,
        loops: tuple[Instruction, ...],
        trips: Trips,
    ) -> Iterator[Cost]:
        computation = self.computations[name]
        for one in computation.instructions.values():
            if one.opcode == "while":
                bound = self._bound(one)
                often = trips(one, loops) if bound is None else bound
                body = one.called("body")
                assert body is not None
                yield from self._costs(body, runs * often, (*loops, one), trips)
            elif one.opcode in ("call", "conditional"):
                keys = ("to_apply", "true_computation", "false_computation")
                for other in filter(None, map(one.called, keys)):
                    yield from self._costs(other, runs, loops, trips)
            elif one.opcode not in _FREE:
                yield Cost(one, runs, loops, self._moved(computation, one), self._computed(one))

    def _bound(self, loop: Instruction) -> int | None:
        """How often a loop runs that counts up to a number in its condition."""
        condition, body = (self.computations[loop.called(key) or ""] for key in ("condition", "body"))
        bounds = list(filter(None, (_constant(one) for one in condition.instructions.values())))
        counters = [
            found[1]
            for one in condition.instructions.values()
            if (found := re.search(r"get-tuple-element\(.*index=(\d+)", one.text)) is not None
        ]
        if len(bounds) != 1 or len(counters) != 1:
            return None
        counted = body.instructions[body.root.operands[int(counters[0])]]
        steps = [_constant(body.instructions[name]) for name in counted.operands]
        return -(-bounds[0] // next(filter(None, steps), 1))

    def _moved(self, inside: Computation, one: Instruction) -> int:
        callee = one.called("calls")
        operands = [inside.instructions[name] for name in one.operands if name in inside.instructions]
        if one.opcode in _SLICING:
            return 2 * one.bytes
        if one.opcode in _IN_PLACE:
            return 2 * operands[_IN_PLACE[one.opcode]].bytes
        if 'custom_call_target="AllocateBuffer"' in one.text:
            return 0
        if one.opcode in ("slice-start", "copy-start", "async-start"):
            # Results: where it goes, and what it comes from, which is there already; or the other way round.
            moved = min((array for array in one.arrays if array.sizes), key=lambda a: math.prod(a.sizes))
            size = _bytes(moved)
            places = [array.is_far for array in one.arrays if len(array.sizes) == len(moved.sizes)][:2]
            return size * max(sum(places), 1)
        if callee is None or one.opcode != "fusion":
            return one.bytes + sum(operand.bytes for operand in operands)
        fused = self.computations[callee]
        read = sum(
            whole if is_given else read
            for parameter, operand in zip(fused.parameters, operands, strict=True)
            for whole in (operand.bytes,)
            for read, is_given in (self._read(fused, parameter.name, whole),)
        )
        return read + self._written(fused, one)

    def _read(self, fused: Computation, name: str, whole: int) -> tuple[int, bool]:
        """Bytes of a fused value that are read: its slices, nothing where it is written into, or all.

        Also whether it is what the computation gives, so that those who take that read it.
        """
        total, is_given = 0, fused.instructions[name].is_root
        for user in fused.users(name):
            if user.opcode in _SLICING and user.operands[0] == name:
                total += _bytes(user.arrays[0])
            elif user.opcode in _IN_PLACE and user.operands[0] == name:
                continue
            elif user.opcode == "bitcast":
                read, is_passed = self._read(fused, user.name, whole)
                total, is_given = total + read, is_given or is_passed
            elif user.opcode == "fusion":
                callee = user.called("calls")
                assert callee is not None
                inner = self.computations[callee]
                read, is_passed = self._read(inner, inner.parameters[user.operands.index(name)].name, whole)
                total += read
                if is_passed:
                    read, is_passed = self._read(fused, user.name, whole)
                    total, is_given = total + read, is_given or is_passed
            else:
                return whole, is_given
        return min(total, whole), is_given

    def _written(self, fused: Computation, one: Instruction) -> int:
        root = fused.root
        parts = [fused.instructions[name] for name in root.operands] if root.opcode == "tuple" else [root]
        if len(parts) != len(one.arrays):
            return one.bytes  # a collective's, of tuples in a tuple
        total = 0
        for part, array in zip(parts, one.arrays, strict=True):
            update = self._update(fused, part)
            total += min(array.bytes, update) if update is not None else array.bytes
        return total

    def _update(self, fused: Computation, one: Instruction) -> int | None:
        """Bytes of the part that is written, where `one` is an array that is written into."""
        if one.opcode in _IN_PLACE:
            written = _bytes(fused.instructions[one.operands[_IN_PLACE[one.opcode]]].arrays[0])
            return written if one.opcode == "dynamic-update-slice" else 2 * written
        if one.opcode == "bitcast" and one.operands:
            return self._update(fused, fused.instructions[one.operands[0]])
        callee = one.called("calls") if one.opcode == "fusion" else None
        if callee is not None:
            inner = self.computations[callee]
            return self._update(inner, inner.root) if inner.root.opcode != "tuple" else None
        return None

    def _computed(self, one: Instruction) -> int:
        callee = one.called("calls")
        if callee is None:
            return 0
        if callee not in self._flops:
            inside = self.computations[callee]
            own = sum(_product(inside, other) for other in inside.instructions.values())
            fusions = (o for o in inside.instructions.values() if o.opcode == "fusion")
            self._flops[callee] = own + sum(map(self._computed, fusions))
        return self._flops[callee]


def _bytes(array: Array) -> int:
    return math.prod(array.sizes) * _BYTES.get(array.dtype, 0)


def _instruction(found: re.Match[str]) -> Instruction:
    rest = found[3]
    end = _closed(rest) if rest.startswith("(") else rest.index(" ")
    shape, after = rest[:end], rest[end + 1 :]
    opcode = re.match(r"[\w-]+", after)
    assert opcode is not None, rest[:200]
    inner = after[opcode.end() :]
    operands = tuple(re.findall(r"%([\w.-]+)", inner[: _closed(inner)]))
    arrays = tuple(
        Array(
            dtype,
            tuple(int(n) for n in sizes.split(",") if n),
            re.search(r"S\([1-9]\d*\)", layout or "") is None,
        )
        for dtype, sizes, layout in _ARRAY.findall(shape)
    )
    return Instruction(found[2], arrays, opcode[0], operands, after, bool(found[1]))


def _constant(one: Instruction) -> int | None:
    found = re.match(r"constant\((\d+)\)", one.text)
    return None if found is None else int(found[1])


def _closed(text: str) -> int:
    """Where the bracket closes that `text` begins with."""
    depth = 0
    for at, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if depth == 0:
            return at + 1
    raise ValueError(text[:200])


def _product(inside: Computation, one: Instruction) -> int:
    if one.opcode == "dot":
        left = inside.instructions[one.operands[0]].arrays[0].sizes
        axes = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", one.text)
        assert axes is not None
        summed = math.prod(left[int(axis)] for axis in axes[1].split(",") if axis)
        return 2 * math.prod(one.arrays[0].sizes) * summed
    if one.opcode != "convolution":
        return 0
    labels = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", one.text)
    assert labels is not None
    right = inside.instructions[one.operands[1]].arrays[0].sizes
    summed = right[labels[2].index("i")]
    window = re.search(r"window=\{([^}]*)\}", one.text)
    words = dict(word.split("=") for word in window[1].split()) if window is not None else {}
    pairs = 1.0
    for axis in range(sum(letter.isdigit() for letter in labels[2])):
        left = inside.instructions[one.operands[0]].arrays[0].sizes[labels[1].index(str(axis))]
        pairs *= _places(axis, left, one.arrays[0].sizes[labels[3].index(str(axis))], words)
    return round(2 * math.prod(one.arrays[0].sizes) * summed * pairs)


def _places(axis: int, inputs: int, outputs: int, words: dict[str, str]) -> float:
    """Of a window's places those that fall on an input, on average over the outputs."""

    def number(key: str, default: int) -> int:
        return int(words[key].split("x")[axis]) if key in words else default

    size, stride = number("size", 1), number("stride", 1)
    over_left, over_right = number("lhs_dilate", 1), number("rhs_dilate", 1)
    before = int(words["pad"].split("x")[axis].split("_")[0]) if "pad" in words else 0
    hits = 0
    for out in range(outputs):
        for place in range(size):
            at, rest = divmod(out * stride + place * over_right - before, over_left)
            hits += rest == 0 and 0 <= at < inputs
    return hits / outputs
