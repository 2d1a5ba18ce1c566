"""What config.json says of rotary positions, in every form that transformers has written; no JAX."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tunix_exp.models.weight_map import NUMBER, TEXT, Kind

PLAIN = "default"  # the rotation by a base alone


@dataclass(frozen=True, slots=True)
class Rotation:
    """Its base, the kind of its frequencies, and what is said beyond the two."""

    base: float
    kind: str
    more: Mapping[str, Any]

    @property
    def told(self) -> str:
        """The kind, and the names of all that is said beyond it (a factor, a share of the heads)."""
        return self.kind + (f" with {', '.join(sorted(self.more))}" if self.more else "")


def rotation(said: Mapping[str, Any] | None, base: float) -> Rotation:
    """The rotation as `said` in the new form or the old; what is left out has `base` and the plain kind."""
    said = said or {}
    kinds = {said[key] for key in ("type", "rope_type") if key in said} or {PLAIN}
    more = {key: said[key] for key in said if key not in ("type", "rope_type", "rope_theta")}
    return Rotation(({"rope_theta": base} | dict(said))["rope_theta"], " and ".join(sorted(kinds)), more)


def written(base: float) -> dict[str, Any]:
    """The new form of a rotation of the plain kind."""
    return {"rope_type": PLAIN, "rope_theta": base}


def is_rotation(value: Any) -> bool:
    """Whether it says a rotation's kind and base as they are said; what else it says is not looked at."""
    kinds = {"type": TEXT, "rope_type": TEXT, "rope_theta": NUMBER}
    return isinstance(value, dict) and all(
        kind.holds(value[key]) for key, kind in kinds.items() if key in value
    )


ROTATION = Kind("an object that tells rope_type and rope_theta", is_rotation).or_null()
