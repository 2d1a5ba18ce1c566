"""Templates to one file of HTML that asks nobody for anything: style, scripts and data lie in it.

Text from outside, such as what a model wrote, is escaped by the template or lies packed in the data. The
content policy allows the page's own style and scripts, by their hashes, and no connection at all.
"""

import base64
import hashlib
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from tunix_exp.report.page.island import in_base64, packed

if TYPE_CHECKING:
    from jinja2 import Environment

_SCRIPTS = ("page.js", "tables.js", "predictions.js", "curves.js")


def render(template: str, *, data: object, **context: Any) -> str:
    """The whole page; `data` is what its script draws."""
    style, script = asset("page.css"), "\n".join(asset(name) for name in _SCRIPTS)
    return (
        _environment()
        .get_template(template)
        .render(
            **context,
            policy=_policy(style, script),
            style=style,
            script=script,
            library=in_base64(_bytes("vega.js.gz")),
            data=packed(data),
        )
    )


def asset(name: str) -> str:
    """The text of a file in assets/."""
    return _bytes(name).decode("utf-8")


def library() -> str:
    """The source of the drawing library as the page unpacks it."""
    import gzip

    return gzip.decompress(_bytes("vega.js.gz")).decode("utf-8")


@cache
def _bytes(name: str) -> bytes:
    return (resources.files("tunix_exp.report.page") / "assets" / name).read_bytes()


@cache
def _environment() -> "Environment":
    # late: a command that is refused does not wait for it
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    return Environment(
        loader=FunctionLoader(asset),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


@cache
def _policy(style: str, script: str) -> str:
    scripts = " ".join(_source(text) for text in (script, library()))
    return (
        f"default-src 'none'; script-src {scripts}; style-src {_source(style)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _source(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode('utf-8')).digest()).decode('ascii')}'"
