"""Python, packages against the lock, the code, and whether the config composes."""

import platform
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path

from tunix_exp.doctor.finding import Finding
from tunix_exp.errors import UserError
from tunix_exp.evidence import checkout

_TIMEOUT_S = 120


def python() -> Finding:
    """The interpreter that runs this."""
    return Finding("python", "ok", f"{platform.python_version()}, {sys.executable}")


def packages(lock: bytes, installed: Mapping[str, str]) -> Finding:
    """Whether what is installed has the versions of the lock; a lock may have several for several Pythons."""
    locked: dict[str, set[str]] = {}
    for package in tomllib.loads(lock.decode("utf-8"))["package"]:
        if "version" in package:
            locked.setdefault(_normal(package["name"]), set()).add(package["version"])
    here = {_normal(name): version for name, version in installed.items()}
    other = [
        f"{name} {here[name]} ({' or '.join(sorted(locked[name]))})"
        for name in sorted(here.keys() & locked.keys())
        if here[name] not in locked[name]
    ]
    count = len(here.keys() & locked.keys())
    if not other:
        return Finding("packages", "ok", f"{count} installed, all in the versions of uv.lock")
    more = f" and {len(other) - 5} more" if len(other) > 5 else ""
    return Finding(
        "packages",
        "warn",
        f"{len(other)} of {count} have other versions than uv.lock: {', '.join(other[:5])}{more}",
        "uv sync --locked (with the extras that you use) installs what was tested",
    )


def code(package: Path) -> tuple[Finding, bytes | None]:
    """The commit and whether the checkout differs from it; and the lock, where there is one."""
    try:
        found = checkout.source_code(package)
        checkout.refuse_large(found.patch)
    except UserError as error:
        return Finding("code", "fail", error.what, error.remedy), None
    record = found.record
    if record.git_commit is None:
        says = f"version {record.version}, outside a git checkout: runs record the version alone"
    else:
        changes = (
            "; runs keep what differs from it as source.patch" if record.git_dirty else ", nothing changed"
        )
        says = f"version {record.version}, commit {record.git_commit[:12]}{changes}"
    return Finding("code", "ok", says), found.lock


def config() -> tuple[Finding, str | None]:
    """Whether the default experiment composes; and where it keeps compiled programs."""
    command = [sys.executable, "-m", "tunix_exp", "--cfg", "job"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or ["it said nothing"])[0]
        return Finding(
            "config", "fail", f"the default config does not compose: {said}", "install again"
        ), None
    cache = re.search(r"^  compilation_cache: (.+)$", done.stdout, re.MULTILINE)
    return Finding("config", "ok", "the default experiment composes"), None if cache is None else cache[1]


def environment(environ: Mapping[str, str], names: Iterable[str]) -> Iterable[Finding]:
    """The variables, of `names`, that change what JAX does; none is said where none is set."""
    found = [f"{name}={environ[name]}" for name in names if name in environ]
    if found:
        yield Finding("environment", "ok", f"set, and recorded by every run: {', '.join(found)}")


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
