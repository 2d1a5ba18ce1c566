"""How often XLA compiled in this process, and for how long."""

import jax

_EVENT = "/jax/core/compile/backend_compile_duration"


class CompileCount:
    """Counts from its making on; programs found in a cache of this process do not count."""

    def __init__(self) -> None:
        self.count, self.seconds = 0, 0.0
        jax.monitoring.register_event_duration_secs_listener(self._heard)

    def _heard(self, event: str, duration_secs: float, **_: str | int) -> None:
        if event == _EVENT:
            self.count += 1
            self.seconds += duration_secs

    def close(self) -> None:
        """Stop counting."""
        jax.monitoring.unregister_event_duration_listener(self._heard)
