"""Make `vega.js.gz`, the drawing library of report.html, from the locked vl-convert-python.

    uv run python -m tests.report.page.make_vega

Vega, Vega-Lite and Vega-Embed as that package carries them, bundled by it. The same version gives the same
bytes, which a test compares, so that the file can only change with uv.lock.
"""

import gzip
from importlib import resources
from pathlib import Path


def bundle() -> str:
    """The library's source; it leaves `vegaEmbed` on the window and nothing else."""
    import vl_convert

    return vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")


if __name__ == "__main__":
    target = Path(str(resources.files("tunix_exp.report.page") / "assets" / "vega.js.gz"))
    target.write_bytes(gzip.compress(bundle().encode("utf-8"), compresslevel=9, mtime=0))
