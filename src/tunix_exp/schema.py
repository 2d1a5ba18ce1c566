"""The base of every config class."""

from pydantic import BaseModel, ConfigDict


class Config(BaseModel):
    """Frozen (and hashable), strict, and closed: an unknown key or a wrong type is refused, not coerced."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", protected_namespaces=())
