"""`python -m tunix_exp.evidence.kinds`: the table of docs/evidence.md is that of the kinds."""

from pathlib import Path

from tunix_exp.evidence.kinds.registry import described

if __name__ == "__main__":
    file = Path("docs/evidence.md")
    text = file.read_text(encoding="utf-8")
    file.write_text(text[: text.index("| file |")] + described(), encoding="utf-8")
