"""How slow this machine is now: a limit in seconds is meant of a machine that Python keeps this busy."""

import time

# of 500,000 rounds below, on a machine to which the suite's limits apply as they stand
_USUAL_S = 0.05


def slowness() -> float:
    """By what a limit of seconds is multiplied here and now: one, or more on a slow or crowded machine."""
    begin = time.process_time()
    total = 0
    for number in range(500_000):
        total += number * number % 7
    return max(1.0, (time.process_time() - begin) / _USUAL_S)
