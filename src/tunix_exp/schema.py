"""The base of every config class."""

from pydantic import BaseModel, ConfigDict


class Config(BaseModel, frozen=True):
    """Frozen, strict, and closed: an unknown key or a wrong type is refused, nothing is coerced."""

    model_config = ConfigDict(strict=True, extra="forbid", protected_namespaces=())
