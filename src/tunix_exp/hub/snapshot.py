"""A pinned Hugging Face model repository as a folder on this machine.

What a commit names never changes, so a commit that the cache holds whole is taken from there and the
network is left alone. Else the Hub is asked once, with a time limit and no second try: which commit a
revision is, which files there are, and whether a gated repository lets this account in, all before the first
byte of weights.

The client's parts are imported on use: together they take a tenth of a second, which only who asks the Hub
waits for.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

import huggingface_hub

from tunix_exp.errors import UserError
from tunix_exp.received import UNPICKLE
from tunix_exp.references import Hub

TIMEOUT_S = 4.0
Part = Literal["weights", "tokenizer"]
# Of the files at the top of the repository; folders hold other frameworks' copies.
_SMALL = ("*.json", "*.model", "*.txt", "*.jinja")
WANTED: dict[Part, tuple[str, ...]] = {"weights": ("*.safetensors", *_SMALL), "tokenizer": _SMALL}
_CONFIGS = ("config.json", "generation_config.json")
UNWANTED = ("*/*",)
_INSTEAD: dict[Part, str] = {
    "weights": "set model.weights=random",
    "tokenizer": "name a folder in model.tokenizer",
}
PICKLES = (".bin", ".pt", ".pth", ".ckpt")


class Snapshot(NamedTuple):
    """A commit and the folder that holds its files."""

    commit: str
    folder: Path


def resolve(
    reference: Hub, *, part: Part = "weights", endpoint: str | None = None, timeout_s: float = TIMEOUT_S
) -> Snapshot:
    """The commit of `reference` and a folder with its configs and tokenizer, and its weights if asked for.

    Raises UserError when access is refused, repository or revision do not exist, the Hub does not answer,
    or the weights are only there as a pickle.
    """
    with _told_plainly(reference, part, timeout_s):
        cached = _cached(reference, WANTED[part])
        if cached is not None:
            return cached
        commit = _allowed(reference, part, endpoint, timeout_s)
        folder = huggingface_hub.snapshot_download(
            reference.repo,
            endpoint=endpoint,
            revision=commit,
            allow_patterns=list(WANTED[part]),
            ignore_patterns=list(UNWANTED),
            etag_timeout=timeout_s,
        )
    return Snapshot(commit, Path(folder))


def check_access(reference: Hub, *, endpoint: str | None = None, timeout_s: float = TIMEOUT_S) -> None:
    """The weights of `reference` lie in the cache, or the Hub would give them; no file is fetched.

    Raises UserError as `resolve` does, and before anything has cost time.
    """
    if is_cached(reference):
        return
    with _told_plainly(reference, "weights", timeout_s):
        _allowed(reference, "weights", endpoint, timeout_s)


def fetch_config(reference: Hub, *, timeout_s: float = TIMEOUT_S) -> Path:
    """The folder that holds the configs of `reference`: small files, by which its weights are judged.

    Raises UserError as `resolve` does.
    """
    with _told_plainly(reference, "weights", timeout_s):
        cached = _cached(reference, _CONFIGS)
        if cached is not None and (cached.folder / _CONFIGS[0]).is_file():
            return cached.folder
        # As a part of the snapshot, so that the cache goes on to know what it lacks of it.
        folder = huggingface_hub.snapshot_download(
            reference.repo,
            revision=reference.revision,
            allow_patterns=list(_CONFIGS),
            etag_timeout=timeout_s,
        )
    return Path(folder)


def is_cached(reference: Hub) -> bool:
    """Whether the weights of `reference` are here already, so that nobody is asked for them."""
    with _told_plainly(reference, "weights", TIMEOUT_S):
        return _cached(reference, WANTED["weights"]) is not None


def _allowed(reference: Hub, part: Part, endpoint: str | None, timeout_s: float) -> str:
    """The commit of `reference`, which the Hub has and would give to this account."""
    api = huggingface_hub.HfApi(endpoint=endpoint)
    # The library's own requests for a listing and for access have no limit of their own.
    huggingface_hub.get_session().timeout = timeout_s
    info = api.model_info(reference.repo, revision=reference.revision, timeout=timeout_s)
    if part == "weights":
        _refuse_pickles(reference, [file.rfilename for file in info.siblings or []])
    if info.gated:
        # What a gated repository holds is told to everybody; its files are not given to everybody.
        api.auth_check(reference.repo)
    return str(info.sha)


def _cached(reference: Hub, wanted: tuple[str, ...]) -> Snapshot | None:
    """The snapshot without the network: of a commit always, of a branch or tag when offline is asked for."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    is_commit = len(reference.revision) == 40 and set(reference.revision) <= set("0123456789abcdef")
    if not is_commit and not huggingface_hub.is_offline_mode():
        return None
    try:
        folder = Path(
            huggingface_hub.snapshot_download(
                reference.repo,
                revision=reference.revision,
                allow_patterns=list(wanted),
                ignore_patterns=list(UNWANTED),
                local_files_only=True,
            )
        )
    except LocalEntryNotFoundError:
        return None
    return Snapshot(folder.name, folder)


def _refuse_pickles(reference: Hub, files: list[str]) -> None:
    top = [file for file in files if "/" not in file]
    if any(file.endswith(".safetensors") for file in top):
        return
    pickles = [file for file in top if file.endswith(PICKLES)]
    if pickles:
        raise UserError(
            f"{reference.repo} has its weights only as a pickle ({', '.join(pickles)}), and a pickle can run"
            " any code when it is read",
            where=_where(reference, "weights"),
            remedy="convert it where you trust it and have PyTorch, and name ./converted in model.weights:"
            f" {UNPICKLE.format(place=reference.repo)}; or set model.weights=random",
        )
    raise UserError(
        f"{reference.repo} has no safetensors file at its top",
        where=_where(reference, "weights"),
        remedy="name a repository with weights in model.weights",
    )


@contextmanager
def _told_plainly(reference: Hub, part: Part, timeout_s: float) -> Iterator[None]:
    """What the library raises inside, as `_told` tells it."""
    try:
        yield
    except Exception as error:
        told = _told(error, reference, part, timeout_s)
        if told is None:
            raise
        raise told from error


def _told(error: Exception, reference: Hub, part: Part, timeout_s: float) -> UserError | None:
    """The error in plain words; None for one that is no fault of input or surroundings.

    Neither the server's words nor the request are repeated, so that no token can get into a log.
    """
    from huggingface_hub import errors

    repo, where = reference.repo, _where(reference, part)
    token = "HF_TOKEN is set" if huggingface_hub.get_token() else "HF_TOKEN is not set"
    if isinstance(error, errors.HFValidationError):
        return UserError(
            f"`{repo}` cannot be the name of a repository",
            where=where,
            remedy="write hub:ORG/NAME@REVISION as the Hub writes them",
        )
    if isinstance(error, errors.GatedRepoError):
        return UserError(
            f"{repo} is gated, and this account has not been let in ({_status(error)}; {token})",
            where=where,
            remedy=f"accept the licence at https://huggingface.co/{repo}, make a token that may read gated"
            " repositories at https://huggingface.co/settings/tokens, and set HF_TOKEN to it",
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return UserError(
            f"{repo} has no revision {reference.revision} ({_status(error)})",
            where=where,
            remedy=f"name a commit of https://huggingface.co/{repo}/commits/main",
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return UserError(
            f"there is no repository {repo}, or none that this account may see ({_status(error)}; {token})",
            where=where,
            remedy=f"mend the name, or set HF_TOKEN to a token of an account that may read it, and that has"
            f" accepted the licence, if there is one, at https://huggingface.co/{repo}",
        )
    if isinstance(error, errors.OfflineModeIsEnabled | errors.LocalEntryNotFoundError):
        return UserError(
            f"the Hub cannot be reached, and {repo} at {reference.revision} is not whole in the cache",
            where=where,
            remedy=f"fetch it once with a connection and without HF_HUB_OFFLINE, or {_INSTEAD[part]}",
        )
    if isinstance(error, errors.EntryNotFoundError):
        return UserError(
            f"{repo} lists a file that it does not serve ({_status(error)})",
            where=where,
            remedy="try again later, or name another revision",
        )
    if isinstance(error, errors.HfHubHTTPError):
        if error.response.status_code in (401, 403):
            return UserError(
                f"the Hub refused the request for {repo} ({_status(error)}; {token})",
                where=where,
                remedy="set HF_TOKEN to a valid token (https://huggingface.co/settings/tokens) of an account"
                f" that has accepted the licence, if there is one, at https://huggingface.co/{repo}",
            )
        return UserError(
            f"the Hub failed the request for {repo} ({_status(error)})",
            where=where,
            remedy="try again later (https://status.huggingface.co)",
        )
    # The transport's errors: httpx's or, from huggingface_hub 2 on, httpx2's.
    kinds = {kind.__name__ for kind in type(error).__mro__ if kind.__module__.startswith("httpx")}
    if "TimeoutException" in kinds:
        return UserError(
            f"the Hub did not answer within {timeout_s:g} s when asked for {repo}",
            where=where,
            remedy="try again later; a commit that the cache holds whole needs no connection",
        )
    if "TransportError" in kinds:
        return UserError(
            f"no connection to the Hub when asked for {repo} ({type(error).__name__})",
            where=where,
            remedy="check the connection and HF_ENDPOINT; a commit that the cache holds whole needs neither",
        )
    if isinstance(error, OSError) and error.errno is not None:
        return UserError(
            f"the cache of {repo} cannot be read or written: {error.strerror}",
            where=where,
            remedy="make room, or let HF_HOME name a folder of yours",
        )
    return None


def _status(error: Exception) -> str:
    from huggingface_hub.errors import HfHubHTTPError

    return f"HTTP {error.response.status_code}" if isinstance(error, HfHubHTTPError) else "no answer"


def _where(reference: Hub, part: Part) -> str:
    return f"hub:{reference.repo}@{reference.revision} (model.{part})"
