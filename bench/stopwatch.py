"""One measurement of one process on Linux, as one JSON line: step times, cold start, peak memory, and how
busy the rest of the machine was meanwhile.

Imports the standard library alone, so that it runs in anybody's environment and adds nothing to a cold start.
The fields are those of the peers' own scripts, so that lines of both sides lie in one file.
"""

import json
import os
import statistics
import sys
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

_HERTZ = os.sysconf("SC_CLK_TCK")
_IDLE = (3, 4)  # columns of /proc/stat that are not work: idle and waiting for a disk
_GUEST = 8  # from here on columns repeat what earlier ones count


@dataclass(frozen=True)
class Clocks:
    """Seconds by the wall, by this process's threads, and by every process of the machine."""

    wall_s: float
    own_s: float
    machine_s: float

    @classmethod
    def now(cls) -> "Clocks":
        ticks = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
        machine = sum(n for column, n in enumerate(ticks[:_GUEST]) if column not in _IDLE)
        return cls(time.perf_counter(), time.process_time(), machine / _HERTZ)

    def cores_of_others(self, since: "Clocks") -> float:
        """Cores that anybody but this process kept busy on average; its children count as others."""
        others_s = (self.machine_s - since.machine_s) - (self.own_s - since.own_s)
        return max(others_s, 0.0) / max(self.wall_s - since.wall_s, 1e-9)


_START = Clocks.now()


def age_s() -> float:
    """Seconds since the kernel made this process: the interpreter's own start is in it."""
    after_the_name = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    return time.clock_gettime(time.CLOCK_BOOTTIME) - int(after_the_name[19]) / _HERTZ


def peak_mib() -> float:
    """The most memory that this process has had resident."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def versions(*packages: str) -> dict[str, str]:
    """Python's version and those of the packages that are installed."""
    found = {d.metadata["Name"]: d.version for d in map(_distribution, packages) if d is not None}
    return {"python": sys.version.split()[0], **found}


def _distribution(package: str) -> metadata.Distribution | None:
    try:
        return metadata.distribution(package)
    except metadata.PackageNotFoundError:
        return None


class Stopwatch:
    """Laps of one process: the first ends the cold start, `warm` are dropped, `timed` are kept.

    A lap ends when its result is on the host. Between the dropped and the kept laps the load of the
    machine begins to be counted.
    """

    def __init__(self, *, warm: int, timed: int) -> None:
        self.laps_wanted = 1 + warm + timed
        self._warm = warm
        self._laps = 0
        self._since = 0.0
        self._kept: list[float] = []
        self._losses: list[float] = []
        self._phases: dict[str, float] = {}
        self._cold_s = self._cold_others = 0.0
        self._begin = self._end = _START

    def phase(self, name: str) -> None:
        """`name` was reached this long after the process began."""
        self._phases[name] = round(age_s(), 2)

    def lap(self, loss: float | None = None) -> None:
        now = time.perf_counter()
        self._laps += 1
        if loss is not None:
            self._losses.append(loss)
        if self._laps == 1:
            self._cold_s = age_s()
            self._cold_others = Clocks.now().cores_of_others(_START)
        if 1 + self._warm < self._laps <= self.laps_wanted:
            self._kept.append(now - self._since)
        if self._laps == 1 + self._warm:
            self._begin = Clocks.now()
            now = time.perf_counter()
        if self._laps == self.laps_wanted:
            self._end = Clocks.now()
        self._since = now

    @property
    def is_done(self) -> bool:
        return self._laps >= self.laps_wanted

    @property
    def kept(self) -> list[float]:
        """Seconds of every kept lap."""
        return self._kept

    def report(
        self, *, peer: str, workload: str, units_a_lap: float, packages: tuple[str, ...], **more: Any
    ) -> None:
        """Prints the one line; `units_a_lap` are tokens, and `more` goes in as it stands."""
        import resource

        median_s = statistics.median(self._kept)
        row = {
            "peer": peer,
            "workload": workload,
            "steps_per_s": round(1 / median_s, 4),
            "tokens_per_s": round(units_a_lap / median_s, 2),
            "cold_s": round(self._cold_s, 2),
            "peak_rss_mb": round(peak_mib()),
            "child_peak_rss_mb": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024),
            "step_s": [round(lap_s, 4) for lap_s in self._kept],
            "cpu_s_per_step": round((self._end.own_s - self._begin.own_s) / len(self._kept), 4),
            "other_cores": round(self._end.cores_of_others(self._begin), 2),
            "other_cores_cold": round(self._cold_others, 2),
            "loadavg1": round(os.getloadavg()[0], 2),
            "loss_first": round(self._losses[0], 4) if self._losses else None,
            "loss_last": round(self._losses[-1], 4) if self._losses else None,
            "cold_marks": self._phases,
            "cores": os.cpu_count(),
            "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "versions": versions(*packages),
        }
        print(json.dumps(row | more), flush=True)
