"""Steps of several widths, compiled side by side."""

import threading
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from jax.experimental.compilation_cache import compilation_cache

from tunix_exp.errors import UserError
from tunix_exp.stages.plan import widths
from tunix_exp.stages.plan.widths import compiled_widths
from tunix_exp.training.compiles import CompileCount

SETTINGS: Any = [SimpleNamespace(width=width) for width in (16, 24, 32)]


def test_as_many_are_compiled_at_a_time_as_there_are_cores_and_each_is_found_by_its_width(monkeypatch):
    monkeypatch.setattr(widths, "usable_cores", lambda: 3)
    together = threading.Barrier(3, timeout=60)

    def compiled(setting):
        together.wait()  # breaks unless all three are here
        return f"program of {setting.width}"

    programs = compiled_widths(SETTINGS, compiled, platform="cpu")
    assert programs == {width: f"program of {width}" for width in (16, 24, 32)}
    assert list(programs) == [16, 24, 32]


@pytest.mark.parametrize(("platform", "cores"), [("gpu", 3), ("cpu", 1)])
def test_one_comes_after_the_other_where_kernels_are_timed_or_there_is_one_core(monkeypatch, platform, cores):
    monkeypatch.setattr(widths, "usable_cores", lambda: cores)
    running, most = [], []

    def compiled(setting):
        running.append(setting.width)
        most.append(len(running))
        threading.Event().wait(0.01)
        running.pop()

    compiled_widths(SETTINGS, compiled, platform=platform)
    assert max(most) == 1


def test_what_the_compiler_refuses_names_the_width():
    def compiled(setting):
        if setting.width == 24:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: too much\nand more")

    with pytest.raises(
        UserError, match=r"batches of 24 tokens is not compiled: RESOURCE_EXHAUSTED: too much"
    ) as said:
        compiled_widths(SETTINGS, compiled, platform="cpu")
    assert said.value.where == "training.bucket_widths"


@pytest.fixture
def cache(tmp_path):
    kept = {"jax_compilation_cache_dir": str(tmp_path), "jax_persistent_cache_min_compile_time_secs": 0.0}
    kept["jax_enable_compilation_cache"] = True
    before = {name: getattr(jax.config, name) for name in kept}
    for settings in (kept, before):
        for name, value in settings.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()
        if settings is kept:
            yield tmp_path


def test_programs_of_several_threads_are_counted_and_those_that_a_cache_has_are_not(cache):
    def compile_all():
        compiles = CompileCount()

        def compiled(setting):
            shape = jax.ShapeDtypeStruct((setting.width,), jnp.float32)
            # a function of its own each time: JAX would find another's program in the process
            return jax.jit(lambda x: jnp.cos(x) * 3).lower(shape).compile()

        compiled_widths(SETTINGS, compiled, platform="cpu")
        compiles.close()
        return compiles

    first, second = compile_all(), compile_all()
    assert (first.count, second.count) == (3, 0)
    assert first.seconds > second.seconds == 0
    assert len(list(cache.iterdir())) >= 3
