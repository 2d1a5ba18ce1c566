"""How often XLA compiled in this process, and for how long."""

import threading

import jax

_EVENT = "/jax/core/compile/backend_compile_duration"
_HIT = "/jax/compilation_cache/cache_hits"


class CompileCount:
    """Counts from its making on; what is found in a cache, of this process or on disk, does not count.

    Programs may be compiled in several threads; seconds that lie beside each other are added.
    """

    def __init__(self) -> None:
        self.count, self.seconds = 0, 0.0
        self._found = threading.local()  # a thread's program is a cache's: told before its duration
        self._lock = threading.Lock()
        jax.monitoring.register_event_listener(self._told)
        jax.monitoring.register_event_duration_secs_listener(self._heard)

    def _told(self, event: str, **_: str | int) -> None:
        if event == _HIT:
            self._found.is_so = True

    def _heard(self, event: str, duration_secs: float, **_: str | int) -> None:
        if event != _EVENT:
            return
        is_found, self._found.is_so = getattr(self._found, "is_so", False), False
        if not is_found:
            with self._lock:
                self.count += 1
                self.seconds += duration_secs

    def close(self) -> None:
        """Stop counting."""
        jax.monitoring.unregister_event_listener(self._told)
        jax.monitoring.unregister_event_duration_listener(self._heard)
