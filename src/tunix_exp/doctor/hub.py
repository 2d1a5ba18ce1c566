"""Whether the Hub answers and takes the token, whose value is never told."""

from collections.abc import Iterator

import huggingface_hub
from huggingface_hub import constants
from huggingface_hub.errors import HfHubHTTPError

from tunix_exp.doctor.finding import Finding

_TIMEOUT_S = 4.0
_HOW_TO_TOKEN = "make one at https://huggingface.co/settings/tokens, accept the model's licence, set HF_TOKEN"


def hub(endpoint: str = constants.ENDPOINT) -> Iterator[Finding]:
    """The Hub and the token; the default experiment needs neither."""
    if huggingface_hub.is_offline_mode():
        yield Finding(
            "hub", "ok", "HF_HUB_OFFLINE is set: what the cache holds is used, nothing is asked for"
        )
        answers = False
    else:
        session = huggingface_hub.get_session()
        session.timeout = _TIMEOUT_S
        try:
            status = session.head(endpoint, follow_redirects=True).status_code
            reason = None if status < 400 else f"HTTP {status}"
        except Exception as error:  # the transport's, of one library or another
            reason = type(error).__name__
        answers = reason is None
        if answers:
            yield Finding("hub", "ok", f"{endpoint} answers")
        else:
            yield Finding(
                "hub",
                "warn",
                f"{endpoint} does not answer ({reason}): models and sets of the Hub are out of reach",
                "check the connection and HF_ENDPOINT; the default experiment needs neither",
            )
    yield _token(endpoint, answers=answers)


def _token(endpoint: str, *, answers: bool) -> Finding:
    token = huggingface_hub.get_token()
    if token is None:
        return Finding("token", "warn", "none is set: gated models cannot be downloaded", _HOW_TO_TOKEN)
    if not answers:
        return Finding("token", "ok", "one is set; whether the Hub takes it was not asked")
    try:
        huggingface_hub.HfApi(endpoint=endpoint).whoami(token)
    except HfHubHTTPError as error:
        return Finding(
            "token", "warn", f"one is set, but refused (HTTP {error.response.status_code})", _HOW_TO_TOKEN
        )
    except Exception as error:
        return Finding(
            "token", "warn", f"one is set, but the Hub did not answer for it ({type(error).__name__})"
        )
    return Finding("token", "ok", "one is set, and the Hub takes it")
