"""Write the bundled sets and their hashes into the package."""

from pathlib import Path

from tunix_exp.data.generators.sets import files

BUNDLED = Path(__file__).resolve().parents[1] / "bundled"

if __name__ == "__main__":
    BUNDLED.mkdir(exist_ok=True)
    for name, content in files().items():
        (BUNDLED / name).write_bytes(content)
        print(f"{name}: {len(content)} bytes")
