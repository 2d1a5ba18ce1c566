"""A process that outlives one of a run's: where the run's own record stays without an end, it writes it.

Process 0 writes the record, and says who was lost. Where it is gone itself, JAX ends the others at once, and
none of them can say anything any more. So each of them has a witness, which waits for its end.
"""

import contextlib
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from tunix_exp.errors import UserError
from tunix_exp.evidence.claimed import ClaimedManifest, replace
from tunix_exp.evidence.error_record import error_record
from tunix_exp.evidence.kinds.pages import FAILURE_ANALYSIS
from tunix_exp.evidence.manifest import read_manifest, utc_now
from tunix_exp.interruption import SIGNALS
from tunix_exp.report.failure import failure_analysis

_POLL_S = 0.5
_REFUSALS = 3  # of a coordinator that is gone; one may be its beginning or its end
_STAGE = "unknown"


def attended(place: Path, *, coordinator: str, host: str, patience_s: float) -> subprocess.Popen[bytes]:
    """A witness of this process, at work until it has ended and the run in `place` has a status.

    `coordinator` is the address of process 0 on `host`, which is given `patience_s` to write one.
    """
    words = [str(place), coordinator, host, str(patience_s)]
    return subprocess.Popen(
        [sys.executable, "-m", "tunix_exp.witness", *words],
        stdin=subprocess.PIPE,
        start_new_session=True,
    )


def settle(place: Path, *, coordinator: str, host: str, patience_s: float) -> None:
    """The run in `place` is no longer `running`: by process 0, or, where that is gone, by this word."""
    until, refusals = time.monotonic() + patience_s, 0
    while read_manifest(place).status == "running":
        refusals = refusals + 1 if _is_refused(coordinator) else 0
        if refusals >= _REFUSALS or time.monotonic() > until:
            _write_lost(place, host)
            return
        time.sleep(_POLL_S)


def _is_refused(coordinator: str) -> bool:
    """Whether the host is there and nobody listens."""
    host, _, port = coordinator.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_POLL_S).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False  # nothing is known: it may be slow, or away
    return False


def _write_lost(place: Path, host: str) -> None:
    error = UserError(
        f"process 0 on {host} is lost: it ended without a word",
        where="the console of process 0",
        remedy="look at what its host or scheduler says (out of memory, preempted, rebooted); then begin the"
        f" processes again with training.resume={place}",
    )
    analysis = failure_analysis(
        stage=_STAGE,
        error_type=type(error).__name__,
        message=error.what,
        where=error.where,
        remedy=error.remedy,
        traceback_text=None,
    )
    replace(place / FAILURE_ANALYSIS.path, analysis.encode())
    record = error_record(_STAGE, error)
    ClaimedManifest(place, read_manifest(place)).rewrite(
        status="failed", error=record, files=None, finished_at=utc_now()
    )


def main(words: list[str]) -> None:
    """Wait for the end of the process that writes to the standard input, then see to the run."""
    for number in SIGNALS:
        with contextlib.suppress(OSError):
            signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()
    place, coordinator, host, patience_s = words
    settle(Path(place), coordinator=coordinator, host=host, patience_s=float(patience_s))


if __name__ == "__main__":
    main(sys.argv[1:])
