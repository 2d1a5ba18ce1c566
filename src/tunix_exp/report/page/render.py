"""Templates to files: Markdown, and one file of HTML that fetches nothing: style, scripts, data lie in it.

Text from outside, such as what a model wrote, is escaped by the template or lies packed in the data. The
content policy allows the page's own style and scripts, by their hashes, and no connection at all.
"""

import base64
import gzip
import hashlib
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from tunix_exp.evidence.strict_json import canonical_json
from tunix_exp.report.markdown import named, verbatim

if TYPE_CHECKING:
    from jinja2 import Environment

_SCRIPTS = ("page.js", "tables.js", "predictions.js", "curves.js")


def render(template: str, *, data: object, **context: Any) -> str:
    """The whole page; `data` is what its script draws."""
    style, script = asset("page.css"), "\n".join(asset(name) for name in _SCRIPTS)
    context |= {"policy": _policy(style, script), "style": style, "script": script, "data": packed(data)}
    context["library"] = base64.b64encode(_bytes("vega.js.gz")).decode("ascii")
    return _environment().get_template(template).render(context)


def render_markdown(template: str, **context: Any) -> str:
    """The page in Markdown, in which the filters `named` and `verbatim` make a user's text safe."""
    return _environment().get_template(template).render(context)


def packed(data: object) -> str:
    """`data` as JSON, gzip and base64, in which is nothing that a browser could take for markup.

    The same text for the same data.
    """
    text = canonical_json(data, file="report.html")
    content = gzip.compress(text.encode("utf-8"), compresslevel=9, mtime=0)
    return base64.b64encode(content).decode("ascii")


def asset(name: str) -> str:
    """The text of a file in assets/."""
    return _bytes(name).decode("utf-8")


def library() -> str:
    """The source of the drawing library as the page unpacks it."""
    return gzip.decompress(_bytes("vega.js.gz")).decode("utf-8")


@cache
def _bytes(name: str) -> bytes:
    return (resources.files("tunix_exp.report.page") / "assets" / name).read_bytes()


@cache
def _environment() -> "Environment":
    # late: a command that is refused does not wait for it
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        loader=FunctionLoader(asset),
        autoescape=lambda name: name is None or name.endswith(".html"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"named": named, "verbatim": verbatim}
    return environment


@cache
def _policy(style: str, script: str) -> str:
    scripts = " ".join(_source(text) for text in (script, library()))
    return (
        f"default-src 'none'; script-src {scripts}; style-src {_source(style)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _source(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode('utf-8')).digest()).decode('ascii')}'"
