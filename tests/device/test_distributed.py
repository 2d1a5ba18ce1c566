import pytest

from tests.composing import composed
from tunix_exp.config import validate
from tunix_exp.device import hosts
from tunix_exp.device.config import DistributedConfig
from tunix_exp.errors import UserError

NONE = {"coordinator": None, "processes": None, "process": None, "timeout_s": None}


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ({"processes": 2, "process": 0}, "without a coordinator there is one process"),
        ({"timeout_s": 5.0}, "without a coordinator there is one process"),
        ({"coordinator": "auto", "process": 1}, "auto takes both from the cluster; set them to null"),
        ({"coordinator": "10.0.0.1:1234", "processes": 2}, "set both, the first process is 0"),
        ({"coordinator": "10.0.0.1:1234", "processes": 2, "process": 2}, "processes are counted from 0"),
        (
            {"coordinator": "10.0.0.1:70000", "processes": 2, "process": 0},
            "a port is a number from 1 to 65535",
        ),
        ({"coordinator": "10.0.0.1", "processes": 2, "process": 0}, "pattern"),
    ],
)
def test_a_key_of_several_processes_is_refused_where_it_would_be_ignored(said, text):
    words = [f"device.distributed.{key}={value}" for key, value in said.items()]
    with pytest.raises(UserError) as caught:
        validate(composed(*words))
    assert text in str(caught.value)


def test_the_time_to_wait_is_that_of_joining_and_of_silence_and_jax_waits_longer():
    config = DistributedConfig(**NONE | {"coordinator": "[::1]:1234", "processes": 4, "process": 3})
    asked, silence_s = hosts.asked_of_jax(config)
    assert (asked["coordinator_address"], asked["num_processes"], asked["process_id"]) == ("[::1]:1234", 4, 3)
    assert (asked["initialization_timeout"], silence_s) == (hosts.JOINING_S, hosts.SILENCE_S)
    asked, silence_s = hosts.asked_of_jax(config.model_copy(update={"timeout_s": 7.5}))
    assert (asked["initialization_timeout"], silence_s) == (8, 7.5)
    assert asked["heartbeat_timeout_seconds"] > 2 * silence_s


def test_of_one_process_every_question_is_answered_at_once():
    assert (hosts.index(), hosts.count(), hosts.everyone("name", 3)) == (0, 1, [3])
    assert hosts.agreed("name", lambda: "made") == "made"
    assert hosts.stops(True, 4)
    assert not hosts.stops(False, 4)
    error = ValueError("its own")
    assert hosts.explained(error) is error
