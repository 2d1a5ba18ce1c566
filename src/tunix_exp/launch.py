"""From composed config to exit status: claim the directory, set the environment, run, and say how it ended.

Imports no JAX: a config that is wrong, or a directory in use, is refused before anything heavy loads.
"""

import functools
import os
import secrets
import shlex
import socket
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, cast, get_args

from tunix_exp import config as configs
from tunix_exp import interruption
from tunix_exp.device import environment, hosts
from tunix_exp.errors import Interrupted, UserError
from tunix_exp.evaluation.config import ItemsEvalConfig, refuse_lacking
from tunix_exp.evaluation.items import read_held_out
from tunix_exp.evidence import baseline as baselines
from tunix_exp.evidence import checkout, surroundings
from tunix_exp.evidence.kinds import source
from tunix_exp.evidence.kinds.composed import sweep_of
from tunix_exp.evidence.kinds.config import KIND as CONFIG
from tunix_exp.evidence.kinds.folders import HOST_LOGS
from tunix_exp.evidence.kinds.pages import FAILURE_ANALYSIS
from tunix_exp.evidence.layout import MANIFEST
from tunix_exp.evidence.manifest import RunManifest, config_hash
from tunix_exp.evidence.run_directory import RunDirectory
from tunix_exp.evidence.sections import Mode, ReplayOf
from tunix_exp.evidence.stages import Stages
from tunix_exp.evidence.summary import Baseline
from tunix_exp.exits import COMPLETED, FAILED, INTERRUPTED, REGRESSED
from tunix_exp.report.failure import failure_analysis
from tunix_exp.sweep import ledger
from tunix_exp.witness import attended


class Replay(Protocol):
    """What a replay adds to a run: whom it repeats, files about that, and a last look at both."""

    @property
    def record(self) -> ReplayOf:
        """The manifest's record of the run that is repeated."""
        ...

    @property
    def files(self) -> Mapping[str, str]:
        """The files that lie in the directory from the start, by their names."""
        ...

    def settle(self, evidence: RunDirectory) -> None:
        """Write down how the two runs compare, before this one ends."""
        ...


def launch(
    plain: Mapping[str, Any],
    directory: Path,
    *,
    command: list[str],
    replay: Replay | None = None,
    notes: Sequence[str] = (),
    refusal: UserError | None = None,
    place: Path | None = None,
) -> int:
    """Run the experiment that `plain` is in `directory`; returns its exit status.

    The log begins with `notes`, on where the config is from. A config that could not be made whole fails with
    `refusal`. Of a process that `follow`s, `place` is the run's own directory.
    """
    stages = Stages("code")
    evidence: RunDirectory | None = None
    try:
        code = checkout.source_code(Path(__file__).resolve().parent)
        with interruption.held():
            evidence = _claim(plain, directory, command, code, replay, place)
            interruption.at_worst(functools.partial(_cut_off, evidence, stages))
            hosts.at_worst(functools.partial(_lost, evidence, stages))
        try:
            _meet(plain, evidence)
            _run(plain, evidence.place, code, evidence, stages, replay, notes, refusal)
            return hosts.agreed("status", lambda: _exit_status(evidence.manifest))
        except Interrupted:
            raise
        except Exception as raised:
            error = hosts.explained(raised)
            if isinstance(error, Interrupted):
                raise error from raised
            with interruption.ending():
                end = _interrupt if interruption.is_stopping() else _fail
                end(evidence, stages.current, error)
    except (KeyboardInterrupt, Interrupted) as error:
        if evidence is None:
            raise
        with interruption.ending():
            _interrupt(evidence, stages.current, error)
    finally:
        interruption.at_worst(None)
        hosts.at_worst(None)
    return _exit_status(evidence.manifest)


def follow(plain: Mapping[str, Any], *, command: list[str], notes: Sequence[str]) -> int:
    """Run, in a process that is not the first, what process 0 runs; returns the exit status.

    What a run leaves lies here in scratch space, and is compared and thrown away: the record of process 0 is
    the run's. The log of this process lies beside that one's.
    """
    place = Path(hosts.agreed("run directory", str))
    coordinator, host, patience_s = hosts.first()
    # as long as this is held, it waits
    witness = attended(place, coordinator=coordinator, host=host, patience_s=patience_s)
    with tempfile.TemporaryDirectory(prefix="tunix_exp-") as scratch:
        status = launch(plain, Path(scratch) / "run", command=command, notes=notes, place=place)
    assert witness.stdin is not None
    witness.stdin.close()
    return status


def _run(
    plain: Mapping[str, Any],
    directory: Path,
    code: checkout.SourceCode,
    evidence: RunDirectory,
    stages: Stages,
    replay: Replay | None,
    notes: Sequence[str],
    refusal: UserError | None,
) -> None:
    """The run is completed; anything else is an exception."""
    _keep_code(code, evidence)
    if replay is not None:
        evidence.before_end(lambda: replay.settle(evidence))
    stages.current = "config"
    if refusal is not None:
        raise refusal
    config = configs.validate(plain)
    if config.device.distributed.is_wanted and hosts.count() == 1:
        raise UserError(
            "a job of a sweep and a replay run in one process, and this config is of several",
            where="device.distributed.coordinator",
            remedy="begin one experiment in several processes; a sweep's jobs are of one each:"
            " device.distributed.coordinator=null",
        )
    refuse_lacking(config.eval)
    baseline = _opened_baseline(config, evidence, stages)
    stages.current = "device"
    environment.apply(config.device, preflight=config.mode.name == "preflight")
    # Only now: importing JAX reads the environment.
    from tunix_exp.run import run

    for line in (f"{config.name} → {directory}", *notes):
        evidence.log.say(line)
    run(config, evidence, stages, baseline=baseline)


def _meet(plain: Mapping[str, Any], evidence: RunDirectory) -> None:
    """All processes of the run know where it lies, and run one config by one code."""
    if evidence.is_kept:
        hosts.agreed("run directory", lambda: str(evidence.root.resolve()))
    if hosts.count() == 1:
        return
    ours = evidence.manifest
    own = {"device.distributed.process"}
    says = {key: value for key, value in configs.leaves(plain) if key not in own}
    says |= {f"code.{key}": value for key, value in ours.code.model_dump(mode="json").items()}
    says |= {f"the version of {name}": version for name, version in surroundings.versions().items()}
    hosts.check_same("the run", says, remedy="begin every process with the same words, by the same code")
    if not (evidence.place / MANIFEST).is_file():
        raise UserError(
            f"process {hosts.index()} on {socket.gethostname()} does not see the run directory",
            where=str(evidence.place),
            remedy="name one on a file system that all hosts share: hydra.run.dir=…",
        )


def _interrupt(evidence: RunDirectory, stage: str, error: BaseException) -> None:
    """The run is interrupted, and its user knows how to go on; a run that had ended stays as it is."""
    hosts.tell_end("interrupted", stage, error)
    if evidence.manifest.status != "running":
        return
    evidence.interrupt(stage, error)
    print(f"interrupted ({stage}): {error}", file=sys.stderr)
    if evidence.manifest.replay_of is None:  # a replay is repeated as a whole
        print(f"to go on: {_finish(evidence)}", file=sys.stderr)


def _finish(evidence: RunDirectory) -> str:
    """The command that goes on with the run, or with the sweep that it is a job of."""
    sweep = sweep_of(evidence.place)
    if sweep is not None and ledger.has_one(sweep):
        return ledger.going_on(sweep)
    return shlex.join(["python", "-m", "tunix_exp", "finish", str(evidence.place)])


def _fail(evidence: RunDirectory, stage: str, error: Exception) -> None:
    hosts.tell_end("failed", stage, error)
    evidence.log.say(f"failed ({stage}): {error}")
    try:
        evidence.fail(stage, error, analysis=_analysis(stage, error))
    except OSError as lost:  # the disk is full, or the directory is gone
        why = f"the end of the run cannot be recorded: {lost.strerror}"
        after = f"once that is mended: {_finish(evidence)}" if (evidence.place / MANIFEST).is_file() else None
    else:
        why, after = None, f"{evidence.place / FAILURE_ANALYSIS.path} says what to do next"
    if not isinstance(error, UserError):
        traceback.print_exception(error)
    for line in filter(None, (why, after)):
        print(line, file=sys.stderr)


def _cut_off(evidence: RunDirectory, stages: Stages, name: str) -> None:
    hosts.tell_end("interrupted", stages.current, Interrupted(name))
    evidence.cut_off(stages.current, name)


def _lost(evidence: RunDirectory, stages: Stages, ended: hosts.Ended) -> None:
    error = ended.error()
    if isinstance(error, UserError):
        evidence.abandon(stages.current, error, analysis=_analysis(stages.current, error))
    else:
        evidence.cut_off(stages.current, str(error))


def _exit_status(manifest: RunManifest) -> int:
    match manifest.status:
        case "interrupted":
            return INTERRUPTED
        case "failed" | "running":  # the latter where its end could not be recorded
            return FAILED
    return REGRESSED if manifest.verdict == "regressed" else COMPLETED


def _claim(
    plain: Mapping[str, Any],
    directory: Path,
    command: list[str],
    code: checkout.SourceCode,
    replay: Replay | None,
    place: Path | None,
) -> RunDirectory:
    manifest = RunManifest.opening(
        run_id=f"{directory.name}-{secrets.token_hex(4)}",
        name=str(plain["name"]),
        mode=_mode(plain),
        command=tuple(command),
        config_hash=config_hash(dict(plain)),
        code=code.record,
        machine=surroundings.machine(),
        seed=plain["seed"] if type(plain["seed"]) is int else None,
        kaggle=surroundings.kaggle_fields(os.environ),
        replay_of=None if replay is None else replay.record,
    )
    log = None if place is None else place / HOST_LOGS.path / f"{hosts.index()}.log"
    evidence = RunDirectory.claim(directory, manifest, place=place, log=log)
    evidence.write(CONFIG, dict(plain))
    for name, text in {} if replay is None else replay.files.items():
        evidence.write_text(name, text)
    return evidence


def _opened_baseline(config: configs.RunConfig, evidence: RunDirectory, stages: Stages) -> Baseline | None:
    """The run that this one is measured against, which answered the items that this one will."""
    asked = config.eval
    if not isinstance(asked, ItemsEvalConfig) or asked.baseline is None:
        return None
    assert asked.baseline_tolerance_points is not None  # the config sees to both
    with stages("baseline"):
        place = Path(asked.baseline).expanduser()
        found = baselines.open_baseline(place, tolerance_points=asked.baseline_tolerance_points)
        items = read_held_out(config.data, asked)
        baselines.refuse_other_items(found, [(item.id, item.answer) for item in items])
        evidence.update(baseline=found.record)
    return found


def _keep_code(code: checkout.SourceCode, evidence: RunDirectory) -> None:
    checkout.refuse_large(code.patch)
    if code.patch:
        evidence.write_bytes(source.PATCH.path, code.patch)
    if code.lock is not None:
        evidence.write_bytes(source.LOCK.path, code.lock)


def _mode(plain: Mapping[str, Any]) -> Mode | None:
    """The mode, or `None` where the config names none; it is refused in a moment."""
    named = plain["mode"]["name"] if isinstance(plain["mode"], Mapping) and "name" in plain["mode"] else None
    return cast(Mode, named) if named in get_args(Mode) else None


def _analysis(stage: str, error: Exception) -> str:
    expected = isinstance(error, UserError)
    return failure_analysis(
        stage=stage,
        error_type=type(error).__name__,
        message=error.what if expected else str(error),
        where=error.where if expected else None,
        remedy=error.remedy if expected else None,
        traceback_text=None if expected else surroundings.without_home(traceback.format_exc()),
    )
