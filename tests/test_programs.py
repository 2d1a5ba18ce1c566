import functools
import sys

import jax
import pytest

from tunix_exp import programs

linux = pytest.mark.skipif(sys.platform != "linux", reason="other systems tell no mappings")


@functools.cache
def program():
    return jax.jit(lambda x: x + 1)


def mappings():
    with open("/proc/self/maps") as lines:
        return len(lines.readlines())


@linux
def test_programs_are_kept_until_they_take_half_of_the_mappings(monkeypatch, tmp_path):
    monkeypatch.setattr(sys.modules["tunix_exp.programs"], "program", program, raising=False)
    compiled = program()
    compiled(1.0)
    assert not programs.forget_programs_when_many()
    assert program() is compiled
    most = tmp_path / "max_map_count"
    most.write_text(f"{mappings()}\n")
    monkeypatch.setattr(programs, "_MOST_MAPPINGS", most)
    assert programs.forget_programs_when_many()
    assert program() is not compiled


@linux
def test_a_forgotten_program_gives_its_mappings_back():
    def many():
        for size in range(1, 60):
            jax.jit(lambda x: x * 2 + 1)(jax.numpy.ones(size))

    many()
    taken = mappings()
    programs.forget_programs()
    assert mappings() < taken - 59
