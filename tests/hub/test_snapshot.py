"""The Hub is a local stand-in; the client is a process of its own, as the tests' own is set to be offline."""

import json
import os
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hf_do_not_print_this_one"
FILES = {
    "config.json": b"{}",
    "model.safetensors": b"weights",
    "merges.txt": b"a b",
    "flax_model.msgpack": b"another framework's",
    "pytorch_model.bin": b"a pickle",
    "onnx/config.json": b"{}",
}
REFUSALS = {
    "org/gated": (403, "GatedRepo"),
    "org/gated-without-token": (401, "GatedRepo"),
    "org/absent": (401, "RepoNotFound"),
    "org/gone": (404, "RepoNotFound"),
    "org/wrong-revision": (404, "RevisionNotFound"),
    "org/bad-token": (401, None),
    "org/forbidden": (403, None),
    "org/broken": (503, None),
}
LISTINGS = {
    "org/good": list(FILES),
    "org/listed": list(FILES),
    "org/stalls": list(FILES),
    "org/pickle": ["config.json", "pytorch_model.bin"],
    "org/empty": ["a.md"],
}
GATED = ("org/listed", "org/stalls")
CLIENT = """
import json, sys
from tunix_exp.errors import UserError
from tunix_exp.hub.snapshot import check_access, resolve
from tunix_exp.references import Hub
for line in sys.stdin:
    case = json.loads(line)
    reference, part = Hub(case["repo"], case["revision"], None, None), case["part"]
    try:
        if part == "nothing":
            check_access(reference, timeout_s=case["timeout_s"])
            print(json.dumps("allowed"))
            continue
        commit, folder = resolve(reference, part=part, timeout_s=case["timeout_s"])
        files = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
        print(json.dumps({"commit": commit, "files": files}))
    except UserError as error:
        print(json.dumps({"error": str(error)}))
"""


class StandIn(BaseHTTPRequestHandler):
    requests: ClassVar[list[str]] = []

    def log_message(self, *args):
        pass

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def do_GET(self):
        path = self.path.split("?")[0]
        if path != "/api/agent-harnesses":  # the library's own curiosity, once a day
            self.requests.append(path)
        repo = "/".join(path.removeprefix("/api/models").strip("/").split("/")[:2])
        if repo == "org/slow":
            time.sleep(1.0)
            self.answer(200)
        elif repo in REFUSALS:
            status, code = REFUSALS[repo]
            # A careless server repeats the token; we must not.
            message = f"refused, {self.headers['authorization']}"
            self.answer(
                status, message.encode(), X_Error_Message=message, **({"X_Error_Code": code} if code else {})
            )
        elif "/revision/" in path:
            siblings = [{"rfilename": name} for name in LISTINGS[repo]]
            told = {"id": repo, "sha": COMMIT, "siblings": siblings, "gated": repo in GATED and "auto"}
            self.answer(200, json.dumps(told).encode())
        elif path.endswith("/auth-check"):
            time.sleep(1.0 if repo == "org/stalls" else 0.0)
            self.answer(403, X_Error_Code="GatedRepo")
        elif "/tree/" in path:
            entries = [
                {"type": "file", "path": name, "size": len(body), "oid": f"oid{i}"}
                for i, (name, body) in enumerate(FILES.items())
            ]
            self.answer(200, json.dumps(entries).encode())
        elif "/resolve/" in path:
            name = path.split(f"/resolve/{COMMIT}/")[1]
            self.answer(200, FILES[name], ETag=f'"{name.replace("/", "-")}"', X_Repo_Commit=COMMIT)
        else:
            self.answer(404)

    do_HEAD = do_GET


@pytest.fixture(scope="module")
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), StandIn)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


def ask(cases, home, endpoint, **environment):
    lines = [json.dumps({"revision": "main", "part": "weights", "timeout_s": 5.0} | case) for case in cases]
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "TRANSFORMERS_"))}
    done = subprocess.run(
        [sys.executable, "-c", CLIENT],
        input="\n".join(lines),
        capture_output=True,
        text=True,
        env=clean | {"HF_HOME": str(home), "HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_XET": "1"} | environment,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert TOKEN not in done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def refusals(server, tmp_path_factory):
    """One client, all refusals: its start costs a second."""
    cases = [
        *({"repo": repo} for repo in (*REFUSALS, "org/pickle", "org/empty")),
        {"repo": "org/slow", "timeout_s": 0.2},
    ]
    answers = ask(cases, tmp_path_factory.mktemp("home"), server, HF_TOKEN=TOKEN)
    return {case["repo"]: answer["error"] for case, answer in zip(cases, answers, strict=True)}


@pytest.mark.parametrize(
    ("repo", "what", "remedy"),
    [
        (
            "org/gated",
            "org/gated is gated, and this account has not been let in (HTTP 403; HF_TOKEN is set)",
            "accept the licence at https://huggingface.co/org/gated,",
        ),
        (
            "org/gated-without-token",
            "is gated, and this account has not been let in (HTTP 401",
            "set HF_TOKEN",
        ),
        ("org/absent", "no repository org/absent, or none that this account may see (HTTP 401", "HF_TOKEN"),
        ("org/gone", "no repository org/gone, or none that this account may see (HTTP 404", "mend the name"),
        ("org/wrong-revision", "org/wrong-revision has no revision main (HTTP 404)", "name a commit of"),
        ("org/bad-token", "the Hub refused the request for org/bad-token (HTTP 401", "a valid token"),
        ("org/forbidden", "the Hub refused the request for org/forbidden (HTTP 403", "a valid token"),
        ("org/broken", "the Hub failed the request for org/broken (HTTP 503", "try again later"),
        ("org/pickle", "only as a pickle (pytorch_model.bin)", "model.weights=random"),
        ("org/empty", "org/empty has no safetensors file at its top", "name a repository with weights"),
        ("org/slow", "did not answer within 0.2 s when asked for org/slow", "try again later"),
    ],
)
def test_a_refusal_is_told_with_its_remedy(refusals, repo, what, remedy):
    assert what in refusals[repo]
    assert remedy in refusals[repo].split("remedy: ")[1]
    assert f"where: hub:{repo}@main" in refusals[repo]


def test_nothing_is_asked_twice(refusals):
    asked = [path for path in StandIn.requests if "/models/" in path and "/good" not in path]
    assert len(asked) == len(set(asked)) == len(refusals)


def test_no_file_is_fetched_of_a_repository_with_only_a_pickle(refusals):
    assert not [path for path in StandIn.requests if path.startswith("/org/pickle")]


def test_wanted_files_are_fetched_once_and_then_need_no_connection(server, tmp_path):
    wanted = {"commit": COMMIT, "files": ["config.json", "merges.txt", "model.safetensors"]}
    by_name, by_commit = {"repo": "org/good"}, {"repo": "org/good", "revision": COMMIT}
    assert ask([by_name], tmp_path, server) == [wanted]
    nowhere = "http://127.0.0.1:9"  # nothing listens there
    assert ask([by_commit], tmp_path, nowhere) == [wanted]
    assert ask([by_commit, by_name], tmp_path, nowhere, HF_HUB_OFFLINE="1")[0] == wanted


def test_a_tokenizer_is_fetched_without_weights_and_is_not_taken_for_them(server, tmp_path):
    small = ["config.json", "merges.txt"]
    tokenizer = {"repo": "org/good", "revision": COMMIT, "part": "tokenizer"}
    [answer] = ask([tokenizer], tmp_path, server)
    assert answer == {"commit": COMMIT, "files": small}
    answers = ask([tokenizer, tokenizer | {"part": "weights"}], tmp_path, server, HF_HUB_OFFLINE="1")
    assert answers[0] == answer
    assert "is not whole in the cache" in answers[1]["error"]
    assert "(model.weights)" in answers[1]["error"]


def test_a_tokenizer_may_lie_beside_a_pickle_or_without_weights(server, tmp_path):
    cases = [{"repo": repo, "part": "tokenizer"} for repo in ("org/pickle", "org/empty")]
    assert all(answer["commit"] == COMMIT for answer in ask(cases, tmp_path, server))


def test_what_is_listed_for_all_but_given_to_few_is_refused_before_any_file(server, tmp_path):
    StandIn.requests.clear()
    for part in ("nothing", "weights", "tokenizer"):
        [answer] = ask([{"repo": "org/listed", "part": part}], tmp_path, server, HF_TOKEN=TOKEN)
        assert "org/listed is gated, and this account has not been let in (HTTP 403" in answer["error"]
    asked = ["/api/models/org/listed/revision/main", "/api/models/org/listed/auth-check"]
    assert StandIn.requests == asked * 3


def test_access_is_asked_for_without_fetching_and_a_whole_cache_is_not_asked(server, tmp_path):
    StandIn.requests.clear()
    check = {"repo": "org/good", "revision": COMMIT, "part": "nothing"}
    assert ask([check], tmp_path, server) == ["allowed"]
    assert StandIn.requests == [f"/api/models/org/good/revision/{COMMIT}"]
    assert not list(tmp_path.rglob("snapshots"))
    ask([check | {"part": "weights"}], tmp_path, server)
    assert ask([check], tmp_path, "http://127.0.0.1:9") == ["allowed"]
    [answer] = ask([{"repo": "org/pickle", "part": "nothing"}], tmp_path, server)
    assert "only as a pickle" in answer["error"]


def test_every_request_has_the_time_limit(server, tmp_path):
    case = {"repo": "org/stalls", "part": "nothing", "timeout_s": 0.2}
    [answer] = ask([case], tmp_path, server)
    assert "did not answer within 0.2 s when asked for org/stalls" in answer["error"]


def test_a_snapshot_with_a_file_missing_is_not_taken_for_whole(server, tmp_path):
    case = {"repo": "org/good", "revision": COMMIT}
    ask([case], tmp_path, server)
    [weights] = tmp_path.rglob("snapshots/*/model.safetensors")
    weights.unlink()
    [answer] = ask([case], tmp_path, server, HF_HUB_OFFLINE="1")
    assert "is not whole in the cache" in answer["error"]


def test_no_connection_is_told_with_its_remedy(tmp_path):
    [answer] = ask([{"repo": "org/good"}], tmp_path, "http://127.0.0.1:9")
    assert "no connection to the Hub when asked for org/good (ConnectError)" in answer["error"]
    assert "check the connection and HF_ENDPOINT" in answer["error"]


def test_offline_without_the_snapshot_is_told_with_its_remedy(tmp_path):
    [answer] = ask([{"repo": "org/good"}], tmp_path, "http://127.0.0.1:9", HF_HUB_OFFLINE="1")
    assert "the Hub cannot be reached, and org/good at main is not whole in the cache" in answer["error"]
    assert "without HF_HUB_OFFLINE" in answer["error"]
