"""One thing that was looked at."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found, and what to do about it; `warn` does not keep the default experiment from running."""

    name: str
    level: Literal["ok", "warn", "fail"]
    says: str
    remedy: str | None = None

    def __str__(self) -> str:
        """One line, and one more for the remedy."""
        line = f"{self.level:4}  {self.name:12}  {self.says}"
        return line if self.remedy is None else f"{line}\n{'':20}{self.remedy}"
