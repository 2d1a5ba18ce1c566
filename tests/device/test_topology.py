import re

import pytest

from tunix_exp.device import topology
from tunix_exp.errors import UserError


@pytest.mark.parametrize(("name", "count"), [("v5e:2x4", 8), ("v3:2x2", 8), ("v6e:2x4", 8), ("v5e:1x1", 1)])
def test_a_topology_has_so_many_devices(name, count):
    assert topology.device_count(name) == count


def test_a_generation_that_is_not_known_is_refused_with_those_that_are():
    with pytest.raises(UserError, match=r"(?s)no TPU v9 is known.*v2, v3, v4, v5e"):
        topology.generation("v9:2x2")


def test_without_the_compiler_it_is_said_how_to_get_it(monkeypatch):
    monkeypatch.setattr(topology.importlib.util, "find_spec", lambda name: None)
    assert re.search("TPU compiler is not installed.*uv sync --extra tpu", str(topology.why_not_compiled()))


@pytest.mark.parametrize("name", ["v5e:2x4", "v3:2x2", "v6e:2x4", "v5e:1x1"])
def test_the_compiler_s_devices_are_those_of_the_table(name):
    pytest.importorskip("libtpu", reason="the TPU compiler is an extra: uv sync --extra tpu")
    devices = topology.compile_only_devices(name)
    assert len(devices) == topology.device_count(name)
    assert devices[0].device_kind == topology.generation(name).device_kind


def test_a_layout_that_the_compiler_does_not_know_is_refused():
    pytest.importorskip("libtpu", reason="the TPU compiler is an extra: uv sync --extra tpu")
    with pytest.raises(UserError, match=r"(?s)knows no topology v5e:3x7.*v5e:2x4 is known"):
        topology.compile_only_devices("v5e:3x7")
