from types import SimpleNamespace

import jax
import pytest

from tests.composing import composed
from tunix_exp.config import validate
from tunix_exp.device import hosts
from tunix_exp.device.config import DistributedConfig
from tunix_exp.device.group import Ended
from tunix_exp.errors import Interrupted, UserError
from tunix_exp.stages.hosts import refuse_sampling

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


class Others:
    """A group of two processes, of which the other says what it is told to."""

    count, index = 2, 0

    def __init__(self, said):
        self.said = said

    def everyone(self, name, value):
        return [value, self.said]


def test_what_differs_between_processes_is_told_by_key_and_process(monkeypatch):
    monkeypatch.setattr(hosts, "_group", Others({"seed": 1, "name": "x"}))
    hosts.check_same("the run", {"seed": 1, "name": "x"}, remedy="begin again")
    with pytest.raises(
        UserError, match=r"the run differs between processes: seed is 2 in process 0, 1 in pro"
    ):
        hosts.check_same("the run", {"seed": 2, "name": "x"}, remedy="begin again")


def test_an_objective_that_samples_is_of_one_process(monkeypatch):
    sampling = SimpleNamespace(collect=lambda *_: None)
    refuse_sampling(sampling)
    monkeypatch.setattr(hosts, "_group", Others(None))
    with pytest.raises(
        UserError, match="the objective samples while it trains, in one process, and here are 2"
    ):
        refuse_sampling(sampling)


@pytest.mark.parametrize(
    ("coordinator", "text"),
    [
        ("auto", "JAX finds no cluster here, or not all of its processes came within 9 s"),
        ("10.0.0.1:1234", "not all 2 processes met at 10.0.0.1:1234 within 9 s"),
    ],
)
def test_processes_that_do_not_meet_are_told_how_to(coordinator, text, monkeypatch):
    def nobody(**asked):
        raise RuntimeError("nobody came")

    monkeypatch.setattr(jax.distributed, "initialize", nobody)
    monkeypatch.setattr(jax.config, "update", lambda *_: None)
    by_hand = {} if coordinator == "auto" else {"processes": 2, "process": 1}
    with pytest.raises(UserError, match=text) as caught:
        hosts.join(DistributedConfig(**NONE | {"coordinator": coordinator, "timeout_s": 9.0} | by_hand))
    assert "device.distributed" in str(caught.value.remedy)
    assert hosts.count() == 1


@pytest.mark.parametrize(
    ("status", "kind", "text"),
    [
        ("lost", UserError, "process 1 on node1 is lost: silent"),
        ("failed", UserError, "process 1 on node1 failed in stage `data`: silent"),
        ("interrupted", Interrupted, "process 1 on node1 was interrupted: silent"),
    ],
)
def test_the_end_of_another_process_names_it_and_its_host(status, kind, text):
    error = Ended(1, "node1", status, "data", "silent").error()
    assert isinstance(error, kind)
    assert text in str(error)
