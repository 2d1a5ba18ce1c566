"""The Hub is a local stand-in; the client is a process of its own, as the tests' own is set to be offline."""

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

TOKEN = "hf_do_not_print_this_one"
CLIENT = """
import json, os, sys
from dataclasses import asdict
from tunix_exp.doctor.hub import hub
for endpoint in sys.argv[1:]:
    print(json.dumps([asdict(one) for one in hub(endpoint)]))
del os.environ["HF_TOKEN"]
print(json.dumps([asdict(one) for one in hub(sys.argv[1])]))
"""


class Answers(BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.reply({"/ill": 503, "/elsewhere": 404}.get(self.path, 200))

    def do_GET(self):
        self.reply(401 if self.path.startswith("/strict") else 200, b'{"name": "somebody"}')

    def reply(self, status, body=b""):
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *args):
        pass


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """What is found of a Hub: well, refusing the token, ill, another server, not there."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    here = f"http://127.0.0.1:{server.server_port}"
    environ = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    environ |= {"HF_TOKEN": TOKEN, "HF_HOME": str(tmp_path_factory.mktemp("home"))}
    endpoints = [f"{here}/well", f"{here}/strict", f"{here}/ill", f"{here}/elsewhere", "http://127.0.0.1:9"]
    done = subprocess.run(
        [sys.executable, "-c", CLIENT, *endpoints], capture_output=True, text=True, env=environ, check=True
    )
    server.shutdown()
    assert TOKEN not in done.stdout + done.stderr
    assert "somebody" not in done.stdout
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return dict(zip(("well", "strict", "ill", "elsewhere", "absent", "without token"), lines, strict=True))


def test_a_hub_that_answers_and_takes_the_token(said):
    assert [one["level"] for one in said["well"]] == ["ok", "ok"]
    assert said["well"][1]["says"] == "one is set, and the Hub takes it"


def test_a_token_that_is_refused_is_a_warning(said):
    assert said["strict"][1]["level"] == "warn"
    assert said["strict"][1]["says"] == "one is set, but refused (HTTP 401)"


@pytest.mark.parametrize(
    ("which", "why"), [("ill", "HTTP 503"), ("elsewhere", "HTTP 404"), ("absent", "ConnectError")]
)
def test_a_hub_that_does_not_answer_is_a_warning_and_the_token_is_not_judged(said, which, why):
    hub, token = said[which]
    assert hub["level"] == "warn"
    assert f"does not answer ({why})" in hub["says"]
    assert token["says"] == "one is set; whether the Hub takes it was not asked"


def test_without_a_token_the_remedy_says_where_one_comes_from(said):
    assert said["without token"][1]["level"] == "warn"
    assert "settings/tokens" in said["without token"][1]["remedy"]


def test_offline_nothing_is_asked():
    from tunix_exp.doctor.hub import hub

    found = list(hub("http://127.0.0.1:9"))
    assert (found[0].level, found[0].says[:22]) == ("ok", "HF_HUB_OFFLINE is set:")
