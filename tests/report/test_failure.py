import re

import pytest

from tunix_exp.data.config import DataConfig
from tunix_exp.evaluation.config import ItemsEvalConfig
from tunix_exp.models.families.gpt2.config import GPT2Config
from tunix_exp.report import failure
from tunix_exp.report.failure import failure_analysis
from tunix_exp.training.config import AdamWConfig, TrainingConfig

OUT_OF_MEMORY = "RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm. Used 28.60G of 15.75G hbm."
TPU_TAKEN = "ABORTED: The TPU is already in use by process with pid 4711. Not attempting to load libtpu.so."


def analysis(message, *, stage="train", where=None, remedy=None, traceback_text=None):
    return failure_analysis(stage, "XlaRuntimeError", message, where, remedy, traceback_text)


def test_the_page_has_stage_cause_what_was_tried_and_what_to_do():
    text = failure_analysis("load", "UserError", "no such file", "model.weights", "name a folder", None)
    assert text == (
        "# The run failed in stage `load`\n\n"
        "## Cause\n\n"
        "Where: model.weights\n\n"
        "```text\nUserError: no such file\n```\n\n"
        "## What was tried\n\n"
        "The run came as far as stage `load` and stopped there at the first error. Nothing was tried again, "
        "replaced or skipped; what was written until then lies in this directory.\n\n"
        "## What to do next\n\n"
        "1. name a folder\n"
    )


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        (OUT_OF_MEMORY, "The device ran out of memory: the program needs 28.60G of 15.75G."),
        (
            "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 2147483648 bytes.",
            "The device ran out of memory when it was asked for 2.00 GiB more.",
        ),
        ("CUDA_ERROR_OUT_OF_MEMORY: out of memory", "The device ran out of memory."),
        (
            "Out of memory allocating 3.5GiB",
            "The device ran out of memory when it was asked for 3.5 GiB more.",
        ),
        ("INTERNAL: No reference output found!", "The GPU ran out of memory while XLA tried kernels"),
        (TPU_TAKEN, "a TPU serves one process at a time (here the one with number 4711)."),
        ("libtpu.so already in use by another process", "a TPU serves one process at a time."),
        (
            "open(/dev/accel0): Device or resource busy",
            "Another process on this machine holds the TPU's device file.",
        ),
        ("couldn't open /dev/vfio/0: in use", "Another process on this machine holds the TPU's device file."),
        ("all CUDA-capable devices are busy or unavailable", "The GPU is held by another process"),
        ("FAILED_PRECONDITION: DNN library initialization failed.", "cuDNN could not start"),
        (
            "DEADLINE_EXCEEDED: Barrier timed out.",
            "The processes of a run over several hosts did not all meet",
        ),
        (
            "Unable to initialize backend 'cuda': not found",
            "JAX did not find the platform that `device` asks for.",
        ),
        ("OSError: [Errno 28] No space left on device", "The disk is full"),
        ("OSError: [Errno 122] Disk quota exceeded: 'a'", "or the quota on it is used up."),
        (
            'RESOURCE_EXHAUSTED: Error writing "count/0": Failed to write 1035567 bytes to file 11:'
            " No space left on device [os_error_code='28']",
            "The disk is full",
        ),
    ],
)
def test_a_known_failure_becomes_a_plain_sentence_before_its_message(message, cause):
    text = analysis(message)
    assert cause in text.partition("```")[0]
    assert f"```text\nXlaRuntimeError: {message}\n```" in text
    assert "\n1. " in text
    assert "{" not in text.partition("```")[0]


def test_an_out_of_memory_names_what_changes_memory_and_keeps_the_data_for_last():
    text = analysis(OUT_OF_MEMORY)
    assert (
        text.index("optim.accumulation_steps")
        < text.index("model.remat=block")
        < text.index("data.max_tokens")
    )


def test_the_errors_own_remedy_comes_first():
    text = analysis(OUT_OF_MEMORY, remedy="choose a larger device")
    assert "1. choose a larger device\n2. read `plan.json`" in text


def test_an_unknown_failure_is_said_to_be_unknown():
    text = analysis("something nobody has seen")
    assert "This failure is not among the known ones" in text
    assert "`mode=smoke`" in text


def test_the_traceback_stands_in_a_fence_that_it_cannot_close():
    text = analysis("x", traceback_text="Traceback\n```\nValueError")
    assert text.endswith("## Traceback\n\n````text\nTraceback\n```\nValueError\n````\n")


def test_every_config_key_in_a_remedy_exists():
    groups = {
        "training": TrainingConfig, "optim": AdamWConfig, "model": GPT2Config, "data": DataConfig,
        "eval": ItemsEvalConfig,
    }  # fmt: skip
    remedies = " ".join(remedy for known in failure._KNOWN for remedy in known.remedies)
    keys = re.findall(r"`(\w+)\.(\w+)[=`]", remedies.replace("`plan.json`", ""))
    assert len(keys) >= 4
    for group, key in keys:
        assert key in groups[group].model_fields


def test_every_known_failure_is_reached_by_some_message():
    parametrized = next(
        mark
        for mark in test_a_known_failure_becomes_a_plain_sentence_before_its_message.pytestmark  # type: ignore[attr-defined]
    )
    reached = {failure._known(message) for message, _ in parametrized.args[1]}
    assert reached == set(failure._KNOWN)
