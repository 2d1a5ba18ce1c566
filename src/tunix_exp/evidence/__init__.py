"""The run directory as evidence: what is written, when it counts as finished, and the proof of both.

Nothing else writes under a run directory. No module here imports JAX, so that `verify` starts at once.
"""
