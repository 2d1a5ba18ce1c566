import subprocess
import sys

import pytest

from tests.composing import composed
from tunix_exp.config import validate
from tunix_exp.device.environment import apply, wanted
from tunix_exp.errors import UserError


def device(*overrides):
    return validate(composed(*overrides)).device


def test_a_platform_is_demanded_of_jax_by_its_own_name():
    assert wanted(device("device=gpu"), preflight=False)["JAX_PLATFORMS"] == "cuda"
    assert wanted(device("device=tpu"), preflight=True)["JAX_PLATFORMS"] == "tpu"
    assert wanted(device("device=tpu-v5e-8"), preflight=False)["JAX_PLATFORMS"] == "tpu"
    assert "JAX_PLATFORMS" not in wanted(device("device=auto"), preflight=False)


def test_the_preflight_of_a_topology_runs_on_the_host_and_asks_no_metadata_server():
    variables = wanted(device("device=tpu-v5e-8"), preflight=True)
    assert variables["JAX_PLATFORMS"] == "cpu"
    assert variables["TPU_SKIP_MDS_QUERY"] == "1"
    assert "JAX_COMPILATION_CACHE_DIR" not in variables


def test_what_only_the_tpu_compiler_reads_may_come_after_jax():
    import jax  # noqa: F401

    environ = {"JAX_PLATFORMS": "cpu"}
    apply(device("device=tpu-v5e-8"), preflight=True, environ=environ)
    assert environ["TPU_SKIP_MDS_QUERY"] == "1"


def test_the_share_of_a_gpu_s_memory_goes_into_the_environment_and_is_said_once():
    config = device("device=gpu", "device.memory_fraction=0.9")
    assert wanted(config, preflight=False)["XLA_CLIENT_MEM_FRACTION"] == "0.9"
    assert "XLA_CLIENT_MEM_FRACTION" not in wanted(device("device=gpu"), preflight=False)
    before = {"XLA_PYTHON_CLIENT_MEM_FRACTION": "0.6"}
    said = r"memory_fraction=0.9, but .* XLA_PYTHON_CLIENT_MEM_FRACTION=0.6[\s\S]*unset"
    with pytest.raises(UserError, match=said):
        apply(config, preflight=False, environ=before)


@pytest.mark.parametrize("platform", ["cpu", "auto", "tpu"])
def test_a_share_of_another_device_s_memory_is_refused(platform):
    said = rf"memory_fraction=0.9` and `device.platform={platform}` cannot be combined: .*choose device=gpu"
    with pytest.raises(UserError, match=said):
        device(f"device={platform}", "device.memory_fraction=0.9")


def test_flags_and_cache_go_into_the_environment():
    config = device("device=cpu", "device.xla_flags=['--xla_a=1','--xla_b=2']", "device.compilation_cache=/c")
    assert wanted(config, preflight=False) == {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_a=1 --xla_b=2",
        "JAX_COMPILATION_CACHE_DIR": "/c",
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }


def test_a_precision_left_by_an_earlier_job_is_refused():
    import jax  # noqa: F401

    environ = {"JAX_PLATFORMS": "cpu", "JAX_DEFAULT_MATMUL_PRECISION": "highest"}
    with pytest.raises(UserError, match="JAX_DEFAULT_MATMUL_PRECISION is 'highest', wanted None"):
        apply(device("device=cpu", "device.compilation_cache=null"), preflight=False, environ=environ)


def test_a_running_jax_with_another_environment_is_refused_with_the_launcher_as_remedy():
    import jax  # noqa: F401

    environ = {"JAX_PLATFORMS": "cpu", "JAX_COMPILATION_CACHE_DIR": "x"}
    with pytest.raises(UserError, match=r"(?s)JAX_PLATFORMS is 'cpu', wanted 'tpu'.*hydra/launcher=joblib"):
        apply(device("device=tpu"), preflight=False, environ=environ)


def test_variables_are_set_before_jax_comes():
    code = """
from tunix_exp.device.config import DeviceConfig, DistributedConfig, MeshConfig
from tunix_exp.device.environment import apply
config = DeviceConfig(
    platform="cpu", topology=None, topology_when_absent=None, min_devices=1,
    mesh=MeshConfig(data=1, fsdp="rest", tensor=1),
    distributed=DistributedConfig(coordinator=None, processes=None, process=None, timeout_s=None),
    param_dtype="float32", compute_dtype="float32", state_dtype="float32",
    attention="einsum", matmul_precision="default", memory_gib=None, memory_fraction=None, guardrail="off",
    xla_flags=["--xla_force_host_platform_device_count=3"], compilation_cache=None,
)
apply(config, preflight=False)
import jax
print(jax.device_count())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "3"
