"""Exit statuses of every command."""

COMPLETED, FAILED, REFUSED, INTERRUPTED = 0, 1, 2, 130
