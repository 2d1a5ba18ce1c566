import pytest

from tests.composing import composed
from tunix_exp.config import validate
from tunix_exp.device import check as module
from tunix_exp.device.check import check, peak_memory_bytes
from tunix_exp.errors import UserError


def device(*overrides):
    return validate(composed(*overrides)).device


def test_a_platform_that_is_there_is_computed_on_and_described():
    found = check(device("device=cpu"))
    assert found.platform == "cpu"
    assert "float32 matrix product" in found.report
    assert found.memory_bytes > 2**28


def test_auto_says_what_it_took():
    assert check(device("device=auto")).report.startswith("device=auto took cpu")


@pytest.mark.parametrize("name", ["gpu", "tpu"])
def test_a_platform_that_is_not_there_is_refused(name):
    with pytest.raises(
        UserError, match=rf"(?s)device={name} needs a {name.upper()}.*uv sync --extra.*device=cpu"
    ):
        check(device(f"device={name}"))


def test_too_few_devices_are_refused():
    with pytest.raises(UserError, match=r"device\.min_devices=4096, but JAX sees"):
        check(device("device=cpu", "device.min_devices=4096"))


def test_a_device_that_computes_wrongly_is_refused(monkeypatch):
    monkeypatch.setattr(module, "_product", lambda a, b: 0 * (a @ b))
    with pytest.raises(UserError, match="gets a 256 × 256 matrix product wrong"):
        check(device("device=cpu"))


def test_the_memory_budget_may_be_set_by_hand():
    assert check(device("device=cpu", "device.memory_gib=1.5")).memory_bytes == int(1.5 * 2**30)


def test_peak_memory_is_counted():
    assert peak_memory_bytes("cpu") > 2**26
