"""An archive opened safely: plain files in one folder, and nothing else."""

import shutil
import tarfile
import zlib
from pathlib import Path, PurePosixPath

from tunix_exp.errors import UserError


def unpack(archive: Path, folder: Path) -> Path:
    """The archive's one folder lies in `folder`; refuses whatever `pack` does not write."""
    try:
        with tarfile.open(archive, "r:*") as tar:
            members = tar.getmembers()
            top = _one_folder(archive, members)
            if sum(member.size for member in members) > shutil.disk_usage(folder).free:
                raise UserError(
                    "there is no room to unpack it", where=str(folder), remedy="set TMPDIR to a larger disk"
                )
            for member in members:
                target, content = folder / member.name, tar.extractfile(member)
                assert content is not None  # it is a plain file
                target.parent.mkdir(parents=True, exist_ok=True)
                with content, target.open("xb") as out:
                    shutil.copyfileobj(content, out)
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise UserError(
            f"the archive cannot be read: {error}",
            where=str(archive),
            remedy="name a run directory, or a file that `python -m tunix_exp pack` has made, whole",
        ) from error
    return folder / top


def _one_folder(archive: Path, members: list[tarfile.TarInfo]) -> str:
    """The folder in which all members lie, plain files each of a name of its own; else a `UserError`."""
    tops: set[str] = set()
    names: set[str] = set()
    for member in members:
        top, *inside = PurePosixPath(member.name).parts or ("/",)
        is_inside = bool(inside) and top not in ("/", "..") and ".." not in inside and "\\" not in member.name
        is_plain = member.isreg() and not member.issparse() and member.size >= 0
        if not is_plain or not is_inside or member.name in names:
            raise UserError(
                f"`{member.name}` is no file that a packed run holds: a link, twice there, or not inside",
                where=str(archive),
                remedy="do not unpack it; `python -m tunix_exp pack` did not make it",
            )
        tops.add(top)
        names.add(member.name)
    if len(tops) != 1:
        raise UserError(
            f"the archive holds {len(tops)} folders, and a packed run has one",
            where=str(archive),
            remedy="name a file that `python -m tunix_exp pack` has made",
        )
    return tops.pop()
