"""A seeded damager of files, as disks, editors, downloads and strangers damage them."""

import json
import random
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tunix_exp.errors import UserError

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12345\n"
_MOST_SPAN = 64
_OTHERS: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2.5, "", "text", "\ud800", [], [1], ["a"], [[1]], {}, {"a": 1},
)  # fmt: skip
# What json.dumps does not write.
_SPELLED = ("9" * 6000, "NaN", "1e999", "[" * 5000 + "]" * 5000, '{"a": 1, "a": 2}')


def damage(folder: Path, seed: int) -> str:
    """One file of `folder` is damaged in one way, both drawn from `seed`; returns what was done."""
    draw = random.Random(seed)
    file = draw.choice(sorted(file for file in folder.iterdir() if file.is_file()))
    kind = draw.choice(KINDS)
    kind(file, draw)
    return f"seed {seed}: {kind.__name__} {file.name}"


def refusals(
    whole: Path,
    scratch: Path,
    seeds: Iterable[int],
    read: Callable[[Path], Any],
    is_sound: Callable[[Any, Path], bool],
) -> list[UserError]:
    """How a copy of `whole` is refused, damaged by each of the seeds; one that is read is sound.

    Every refusal says what, where and the remedy, and can be written; any other exception names its seed.
    """
    found = []
    for seed in seeds:
        folder = shutil.copytree(whole, scratch / str(seed) / "folder")
        done = damage(folder, seed)
        try:
            result = read(folder)
        except UserError as error:
            found.append(error)
        except BaseException as error:
            raise AssertionError(done) from error
        else:
            assert is_sound(result, folder), done
        shutil.rmtree(scratch / str(seed))
    for error in found:
        assert error.where, str(error)
        assert error.remedy, str(error)
        str(error).encode("utf-8")
    return found


def bit(file: Path, draw: random.Random) -> None:
    content = bytearray(file.read_bytes())
    content[draw.randrange(min(len(content), _beginning(file, draw)))] ^= 1 << draw.randrange(8)
    file.write_bytes(content)


def cut(file: Path, draw: random.Random) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: draw.randrange(len(content))])


def span_lost(file: Path, draw: random.Random) -> None:
    content, begin, end = _span(file, draw)
    file.write_bytes(content[:begin] + content[end:])


def span_twice(file: Path, draw: random.Random) -> None:
    content, begin, end = _span(file, draw)
    file.write_bytes(content[:end] + content[begin:])


def span_of_noise(file: Path, draw: random.Random) -> None:
    content, begin, end = _span(file, draw)
    file.write_bytes(content[:begin] + draw.randbytes(end - begin) + content[end:])


def value_of_another_type(file: Path, draw: random.Random) -> None:
    def change(whole: Any, key: Any) -> None:
        whole[key] = draw.choice(_OTHERS)

    _in_json(file, draw, change)


def value_that_is_odd(file: Path, draw: random.Random) -> None:
    def change(whole: Any, key: Any) -> None:
        whole[key] = "@odd@"

    _in_json(file, draw, change, lambda text: text.replace('"@odd@"', draw.choice(_SPELLED)))


def keys_swapped(file: Path, draw: random.Random) -> None:
    def change(whole: Any, key: Any) -> None:
        other = draw.choice(list(whole) if isinstance(whole, dict) else range(len(whole)))
        whole[key], whole[other] = whole[other], whole[key]

    _in_json(file, draw, change)


def key_lost(file: Path, draw: random.Random) -> None:
    def change(whole: Any, key: Any) -> None:
        del whole[key]

    _in_json(file, draw, change)


def key_new(file: Path, draw: random.Random) -> None:
    def change(whole: Any, key: Any) -> None:
        if isinstance(whole, dict):
            whole[key + draw.choice(("x", "_2", "\ud800"))] = whole[key]
        else:
            whole.append(whole[key])

    _in_json(file, draw, change)


def marked(file: Path, draw: random.Random) -> None:
    file.write_bytes(draw.choice((b"\xef\xbb\xbf", b"\xff\xfe", b"\x00", b"\n")) + file.read_bytes())


def emptied(file: Path, draw: random.Random) -> None:
    file.write_bytes(b"")


def removed(file: Path, draw: random.Random) -> None:
    file.unlink()


def left_to_git_lfs(file: Path, draw: random.Random) -> None:
    file.write_bytes(POINTER)


def made_a_folder(file: Path, draw: random.Random) -> None:
    file.unlink()
    file.mkdir()


def linked_away(file: Path, draw: random.Random) -> None:
    content = file.read_bytes()
    file.unlink()
    target = draw.choice((file.parent.parent / f"outside-{file.name}", file, file.parent / "absent"))
    if target.parent != file.parent:
        target.write_bytes(content)
    file.symlink_to(target)


KINDS: tuple[Callable[[Path, random.Random], None], ...] = (
    bit, bit, bit, cut, cut, span_lost, span_lost, span_twice, span_twice, span_of_noise, span_of_noise,
    value_of_another_type, value_of_another_type, value_of_another_type, value_that_is_odd, value_that_is_odd,
    keys_swapped, keys_swapped, key_lost, key_new, marked, emptied, removed, left_to_git_lfs, made_a_folder,
    linked_away,
)  # fmt: skip


def _beginning(file: Path, draw: random.Random) -> int:
    """How much of the file is aimed at: of weights mostly their header, as bits of values tell nothing."""
    size = file.stat().st_size
    if file.suffix != ".safetensors" or draw.random() < 0.2:
        return size
    return min(size, 8 + int.from_bytes(file.read_bytes()[:8], "little"))


def _span(file: Path, draw: random.Random) -> tuple[bytes, int, int]:
    content = file.read_bytes()
    begin = draw.randrange(_beginning(file, draw))
    return content, begin, min(len(content), begin + draw.randint(1, _MOST_SPAN))


def _in_json(
    file: Path,
    draw: random.Random,
    change: Callable[[Any, Any], None],
    spelled: Callable[[str], str] = lambda text: text,
) -> None:
    """The JSON of the file, or of the header of weights, or of one line, is changed at one place."""
    content = file.read_bytes()
    before, after = b"", b""
    if file.suffix == ".safetensors":
        length = int.from_bytes(content[:8], "little")
        content, after = content[8 : 8 + length], content[8 + length :]
    elif file.suffix == ".jsonl":
        lines = content.splitlines(keepends=True)
        number = draw.randrange(len(lines))
        before, content, after = (
            b"".join(lines[:number]),
            lines[number],
            b"\n" + b"".join(lines[number + 1 :]),
        )
    elif file.suffix != ".json":
        return bit(file, draw)
    value = json.loads(content)
    change(*draw.choice(list(_places(value))))
    text = spelled(json.dumps(value)).encode()
    if file.suffix == ".safetensors":
        before = len(text).to_bytes(8, "little")
    file.write_bytes(before + text + after)
    return None


def _places(value: Any) -> Any:
    """Every container with each of its keys."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else []
    for key in keys:
        yield value, key
        yield from _places(value[key])
