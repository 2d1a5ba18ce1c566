"""Exit statuses of every command."""

COMPLETED, FAILED, REFUSED, INTERRUPTED = 0, 1, 2, 130
# A replay that ran to its end with other numbers than the run that it repeats.
DIFFERS = 3
# A run that completed, but lost more against its baseline than its tolerance allows.
REGRESSED = 4
