from types import SimpleNamespace

import pytest

from tests.composing import composed
from tunix_exp.config import validate
from tunix_exp.device import check as module
from tunix_exp.device.check import check, peak_memory, published_speed
from tunix_exp.errors import UserError


def device(*overrides):
    return validate(composed(*overrides)).device


def test_a_platform_that_is_there_is_computed_on_and_described():
    found = check(device("device=cpu"), preflight=False)
    assert found.platform == "cpu"
    assert "float32 matrix product" in found.report
    assert found.memory_bytes > 2**28


def test_auto_says_what_it_took():
    assert check(device("device=auto"), preflight=False).report.startswith("device=auto took cpu")


@pytest.mark.parametrize("name", ["gpu", "tpu"])
def test_a_platform_that_is_not_there_is_refused(name):
    with pytest.raises(
        UserError, match=rf"(?s)device={name} needs a {name.upper()}.*uv sync --extra.*device=cpu"
    ):
        check(device(f"device={name}"), preflight=False)


def test_too_few_devices_are_refused():
    with pytest.raises(UserError, match=r"device\.min_devices=4096, but JAX sees"):
        check(device("device=cpu", "device.min_devices=4096"), preflight=False)


def test_a_device_that_computes_wrongly_is_refused(monkeypatch):
    monkeypatch.setattr(module, "_product", lambda a, b: 0 * (a @ b))
    with pytest.raises(UserError, match="gets a 256 × 256 matrix product wrong"):
        check(device("device=cpu"), preflight=False)


def test_the_memory_budget_may_be_set_by_hand():
    assert check(device("device=cpu", "device.memory_gib=1.5"), preflight=False).memory_bytes == int(
        1.5 * 2**30
    )


def test_peak_memory_is_counted():
    assert peak_memory()[0] == "process"
    assert peak_memory()[1] > 2**26


def test_a_device_that_tells_its_peak_is_asked_and_the_fullest_counts(monkeypatch):
    told = [SimpleNamespace(memory_stats=lambda n=n: {"peak_bytes_in_use": n}) for n in (5, 7, 6)]
    monkeypatch.setattr("jax.local_devices", lambda: told)
    assert peak_memory() == ("device", 7)


def faked(kind, *coords, platform="gpu"):
    places = coords or [(0, 0, 0)]
    return [SimpleNamespace(platform=platform, device_kind=kind, coords=place) for place in places]


@pytest.mark.parametrize(
    ("devices", "peak"),
    [
        (faked("NVIDIA H200"), 989e12),
        (faked("NVIDIA A100-SXM4-80GB"), 312e12),
        (faked("TPU v5 lite", (0, 0, 0), (1, 0, 0), platform="tpu"), 197e12),
        (faked("TPU v3", (0, 0, 0), (0, 0, 0), (1, 0, 0), (1, 0, 0), platform="tpu"), 123e12 / 2),
        (faked("TPU v4", (0, 0, 0), (1, 0, 0), platform="tpu"), 275e12),
    ],
)
def test_the_peak_of_a_device_is_that_of_its_share_of_the_chip(devices, peak):
    speed = published_speed(devices)
    assert speed is not None
    assert speed.device_peak_flops == peak


@pytest.mark.parametrize("kind", ["cpu", "NVIDIA H100 80GB HBM3 MIG 1g.10gb", "NVIDIA A1000"])
def test_no_peak_is_claimed_of_a_device_that_is_not_known(kind):
    assert published_speed(faked(kind)) is None


class Chip:
    """As much of a TPU as is looked at before it is used."""

    platform = "tpu"

    def __init__(self, device_kind):
        self.device_kind = device_kind


@pytest.mark.parametrize(
    ("words", "kind", "count", "text"),
    [
        (("device=tpu-v5e-8",), "TPU v5 lite", 4, "is 8 × TPU v5 lite, but here are 4 × TPU v5 lite"),
        (("device=tpu-v5e-8",), "TPU v4", 8, "is 8 × TPU v5 lite, but here are 8 × TPU v4"),
    ],
)
def test_another_tpu_than_the_named_one_is_refused(monkeypatch, words, kind, count, text):
    monkeypatch.setattr(module.jax, "devices", lambda: [Chip(kind)] * count)
    with pytest.raises(UserError, match=text):
        check(device(*words), preflight=False)


@pytest.mark.parametrize("option", ["tpu", "tpu-v5e-8"])
def test_a_tpu_that_is_not_here_is_refused_where_something_is_to_be_computed(option):
    with pytest.raises(UserError, match=r"(?s)needs a TPU.*mode=preflight tells without a TPU"):
        check(device(f"device={option}"), preflight=False)


def test_without_a_tpu_a_preflight_takes_the_topology_for_that_case_and_says_why(monkeypatch):
    monkeypatch.setattr(module.topology, "why_not_compiled", lambda: "no compiler")
    found = check(device("device=tpu", "device.topology_when_absent=v6e:2x2"), preflight=True)
    assert (found.topology, dict(found.mesh.shape)) == ("v6e:2x2", {"data": 1, "fsdp": 4, "tensor": 1})
    assert found.memory_bytes == int(31.25 * 2**30)
    assert found.topology_reason is not None
    assert found.topology_reason.startswith("device.topology_when_absent, as a TPU is asked for, but JAX")
    assert f"reason: {found.topology_reason}" in found.report


def test_without_a_topology_for_that_case_a_preflight_is_refused_too():
    with pytest.raises(UserError, match=r"(?s)needs a TPU.*device\.topology_when_absent=v5e:2x4"):
        check(device("device=tpu", "device.topology_when_absent=null"), preflight=True)


def test_a_topology_that_is_not_here_is_enough_for_a_preflight(monkeypatch):
    monkeypatch.setattr(module.topology, "why_not_compiled", lambda: "no compiler")
    found = check(device("device=tpu-v5e-8"), preflight=True)
    assert (found.platform, dict(found.mesh.shape)) == ("tpu", {"data": 1, "fsdp": 8, "tensor": 1})
    assert found.memory_bytes == int(15.75 * 2**30)
    assert found.not_compiled == "no compiler"
    assert (found.topology, found.topology_reason) == ("v5e:2x4", None)
    assert "8 × TPU v5 lite, not attached: no compiler" in found.report


def test_a_topology_with_too_few_devices_is_refused():
    with pytest.raises(UserError, match="but topology v5e:2x2 has 4"):
        check(device("device=tpu-v5e-8", "device.topology=v5e:2x2"), preflight=True)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (
            ("device=cpu", "device.topology=v5e:2x4"),
            "`device.topology=v5e:2x4` and `device.platform=cpu`",
        ),
        (
            ("device=cpu", "device.topology_when_absent=v5e:2x4"),
            "`device.topology_when_absent=v5e:2x4` and `device",
        ),
        (("device=tpu", "device.topology=v5e:2x4"), "set topology_when_absent to null"),
        (("device=tpu", "device.topology=eight"), "device.topology"),
    ],
)
def test_a_topology_that_cannot_be_is_refused_by_key(words, text):
    with pytest.raises(UserError, match=text):
        device(*words)


def test_of_a_card_the_report_says_which_part_is_counted_on():
    gpu = device("device=gpu")
    assert "three quarters, unless device.memory_fraction says otherwise" in module._share(gpu, "gpu")
    told = gpu.model_copy(update={"memory_fraction": 0.9})
    assert module._share(told, "gpu") == ", device.memory_fraction=0.9 of the card"
    assert module._share(gpu.model_copy(update={"memory_gib": 8.0}), "gpu") == ""
    assert module._share(device("device=auto"), "cpu") == ""
