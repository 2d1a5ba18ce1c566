"""Data for the page's script, packed: base64 of gzip holds nothing that a browser could take for markup."""

import base64
import gzip

from tunix_exp.evidence.strict_json import canonical_json


def packed(data: object) -> str:
    """`data` as JSON, compressed, in base64: the same text for the same data."""
    text = canonical_json(data, file="report.html")
    return in_base64(gzip.compress(text.encode("utf-8"), compresslevel=9, mtime=0))


def in_base64(content: bytes) -> str:
    """`content` as ASCII text."""
    return base64.b64encode(content).decode("ascii")
