"""Gated weights, end to end: the program in a process of its own against a local stand-in for the Hub.

The stand-in does as the Hub does: what a gated repository holds is told to everybody, its files are given to
accounts that accepted the licence, and a token that is none is refused whatever it asks for.
"""

import json
import os
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.data.toys import saved_tokenizer
from tests.forking import Forked
from tests.pace import slowness
from tests.running import TOY, read_json
from tunix_exp.data.tokenizer import END_OF_TEXT
from tunix_exp.evidence.verify import verify
from tunix_exp.hub.snapshot import TIMEOUT_S

COMMIT = "0123456789abcdef0123456789abcdef01234567"
GATED = f"hub:org/gated@{COMMIT}"
ACCEPTED, NOT_ACCEPTED, NO_TOKEN = "hf_accepted_the_licence", "hf_accepted_nothing", "hf_made_up"
NOWHERE = "http://127.0.0.1:9"  # nothing listens there
LIMIT_S = 10.0


class StandIn(BaseHTTPRequestHandler):
    files: ClassVar[dict[str, bytes]] = {}
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

    def refuse(self, status, code, message):
        # A careless server repeats the token; we must not.
        spoken = f"{message} {self.headers['authorization']}"
        named = {"X_Error_Code": code} if code else {}
        self.answer(status, spoken.encode(), X_Error_Message=message if code is None else spoken, **named)

    def do_GET(self):
        path = self.path.split("?")[0]
        if path != "/api/agent-harnesses":  # the library's own curiosity, once a day
            self.requests.append(path)
        token = (self.headers["authorization"] or "").removeprefix("Bearer ")
        repo = "/".join(path.removeprefix("/api/models").strip("/").split("/")[:2])
        if token == NO_TOKEN:
            self.refuse(401, None, "Invalid credentials in Authorization header")
        elif repo == "org/slow":
            time.sleep(LIMIT_S)
        elif repo != "org/gated":
            self.refuse(404 if token else 401, "RepoNotFound", "Repository not found")
        elif "/revision/" in path:
            siblings = [{"rfilename": name} for name in self.files]
            told = {"id": repo, "sha": COMMIT, "gated": "manual", "siblings": siblings}
            self.answer(200, json.dumps(told).encode())
        elif "/tree/" in path:
            entries = [
                {"type": "file", "path": name, "size": len(body), "oid": f"oid{i}"}
                for i, (name, body) in enumerate(self.files.items())
            ]
            self.answer(200, json.dumps(entries).encode())
        elif token != ACCEPTED:
            self.refuse(403 if token else 401, "GatedRepo", "Access to model org/gated is restricted.")
        elif path.endswith("/auth-check"):
            self.answer(200)
        else:
            name = path.split(f"/resolve/{COMMIT}/")[1]
            self.answer(200, self.files[name], ETag=f'"{name}"', X_Repo_Commit=COMMIT)

    do_HEAD = do_GET


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory):
    StandIn.files = repository(tmp_path_factory.mktemp("repository") / "files")
    server = ThreadingHTTPServer(("127.0.0.1", 0), StandIn)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


def repository(folder: Path) -> dict[str, bytes]:
    """The files of the toy model's repository: weights, config, tokenizer."""
    saved_tokenizer(folder, eos_token=END_OF_TEXT)
    width, wide, vocabulary = 16, 32, 258
    shapes = {
        "wte.weight": (vocabulary, width), "wpe.weight": (64, width),
        "ln_f.weight": (width,), "ln_f.bias": (width,),
        "h.0.ln_1.weight": (width,), "h.0.ln_1.bias": (width,),
        "h.0.ln_2.weight": (width,), "h.0.ln_2.bias": (width,),
        "h.0.attn.c_attn.weight": (width, 3 * width), "h.0.attn.c_attn.bias": (3 * width,),
        "h.0.attn.c_proj.weight": (width, width), "h.0.attn.c_proj.bias": (width,),
        "h.0.mlp.c_fc.weight": (width, wide), "h.0.mlp.c_fc.bias": (wide,),
        "h.0.mlp.c_proj.weight": (wide, width), "h.0.mlp.c_proj.bias": (width,),
    }  # fmt: skip
    rng = np.random.default_rng(0)
    tensors = {name: rng.normal(0, 0.1, shape).astype(np.float32) for name, shape in shapes.items()}
    save_file(tensors, folder / "model.safetensors")
    config = {"model_type": "gpt2", "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5}
    config |= {"n_embd": width, "n_layer": 1, "n_head": 2, "n_positions": 64, "n_inner": wide}
    (folder / "config.json").write_text(json.dumps(config | {"vocab_size": vocabulary}))
    return {file.name: file.read_bytes() for file in folder.iterdir()}


class Done(NamedTuple):
    """What one command left: exit status, all that it said, its processor's seconds, manifest, directory."""

    status: int
    said: str
    processor_s: float
    manifest: Any
    folder: Path


def command(folder: Path, home: Path, *words: str, **environment: str) -> Done:
    return of_model(folder, home, *TOY, "model.vocab_size=258", *words, **environment)


def surroundings(home: Path, **environment: str) -> dict[str, str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "TRANSFORMERS_"))}
    return clean | {"HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", **environment}


def of_model(folder: Path, home: Path, *words: str, **environment: str) -> Done:
    process = Forked(f"hydra.run.dir={folder}", *words, environ=surroundings(home, **environment))
    status, said = process.wait(timeout=600), process.said
    for secret in (ACCEPTED, NOT_ACCEPTED, NO_TOKEN):
        assert secret not in said
        for file in folder.rglob("*"):
            assert not file.is_file() or secret.encode() not in file.read_bytes(), file
    return Done(status, said, process.processor_s, read_json(folder / "run_manifest.json"), folder)


LICENCE = "https://huggingface.co/org/gated"
# name: (reference, token, what is told, what is named as remedy)
REFUSED: dict[str, tuple[str, str | None, str, tuple[str, ...]]] = {
    "no token": (
        GATED, None,
        "org/gated is gated, and this account has not been let in (HTTP 401; HF_TOKEN is not set)",
        (f"accept the licence at {LICENCE}", "set HF_TOKEN"),
    ),
    "a token that is none": (
        GATED, NO_TOKEN,
        "the Hub refused the request for org/gated (HTTP 401; HF_TOKEN is set)",
        (LICENCE, "set HF_TOKEN to a valid token"),
    ),
    "the licence not accepted": (
        GATED, NOT_ACCEPTED,
        "org/gated is gated, and this account has not been let in (HTTP 403; HF_TOKEN is set)",
        (f"accept the licence at {LICENCE}", "set HF_TOKEN"),
    ),
    "no such repository": (
        f"hub:org/absent@{COMMIT}", ACCEPTED,
        "there is no repository org/absent, or none that this account may see (HTTP 404; HF_TOKEN is set)",
        ("mend the name", "set HF_TOKEN", "https://huggingface.co/org/absent"),
    ),
    "no answer": (
        f"hub:org/slow@{COMMIT}", ACCEPTED,
        "the Hub did not answer within 4 s when asked for org/slow",
        ("try again later", "needs no connection"),
    ),
}  # fmt: skip


def check_refused(done: Done, stage: str, what: str, remedies: tuple[str, ...]) -> None:
    assert done.status == 1
    # Work and the longest wait together; a busy machine's clock would measure the others' work too.
    assert done.processor_s < (LIMIT_S - TIMEOUT_S) * slowness()
    assert done.manifest["status"] == "failed"
    assert done.manifest["error"]["stage"] == stage
    assert what in done.manifest["error"]["message"]
    analysis = (done.folder / "failure_analysis.md").read_text()
    for text in (what, f"in stage `{stage}`", *remedies):
        assert text in analysis
    assert what in done.said
    assert "Traceback" not in done.said
    assert not [path for path in StandIn.requests if "/resolve/" in path]
    assert verify(done.folder) == []


@pytest.mark.slow
@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_is_told_in_time_and_nothing_is_fetched(case, endpoint, tmp_path):
    reference, token, what, remedies = REFUSED[case]
    StandIn.requests.clear()
    environment = {"HF_ENDPOINT": endpoint} | ({} if token is None else {"HF_TOKEN": token})
    words = (f"model.weights={reference}", f"model.tokenizer={reference}")
    done = command(tmp_path / "run", tmp_path / "home", *words, **environment)
    check_refused(done, "weights", what, remedies)
    assert len(StandIn.requests) == len(set(StandIn.requests)), "nothing is asked for twice"


@pytest.mark.slow
def test_weights_of_another_size_are_refused_before_they_are_fetched(endpoint, tmp_path):
    StandIn.requests.clear()
    words = (f"model.weights={GATED}", f"model.tokenizer={GATED}", "model.num_layers=2")
    done = command(tmp_path / "run", tmp_path / "home", *words, HF_ENDPOINT=endpoint, HF_TOKEN=ACCEPTED)
    assert done.status == 1
    assert done.manifest["error"]["stage"] == "weights"
    assert "n_layer is 1, model.num_layers is 2" in done.said
    assert "type model.num_layers=1" in done.said
    assert {path.split("/")[-1] for path in StandIn.requests if "/resolve/" in path} == {"config.json"}


@pytest.mark.slow
def test_a_refused_tokenizer_is_told_like_refused_weights(endpoint, tmp_path):
    StandIn.requests.clear()
    done = command(tmp_path / "run", tmp_path / "home", f"model.tokenizer={GATED}", HF_ENDPOINT=endpoint)
    check_refused(done, "data", REFUSED["no token"][2], REFUSED["no token"][3])
    assert done.manifest["error"]["where"] == f"{GATED} (model.tokenizer)"


@pytest.mark.slow
def test_no_connection_and_nothing_in_the_cache_is_told_in_time(tmp_path):
    StandIn.requests.clear()
    words = (f"model.weights={GATED}", f"model.tokenizer={GATED}")
    done = command(tmp_path / "run", tmp_path / "home", *words, HF_ENDPOINT=NOWHERE)
    check_refused(done, "weights", "no connection to the Hub when asked for org/gated", ("HF_ENDPOINT",))


@pytest.mark.slow
def test_who_may_read_is_asked_before_any_file_and_the_cache_then_needs_no_connection(endpoint, tmp_path):
    StandIn.requests.clear()
    words = (f"model.weights={GATED}", f"model.tokenizer={GATED}")
    first = command(tmp_path / "1", tmp_path / "home", *words, HF_ENDPOINT=endpoint, HF_TOKEN=ACCEPTED)
    assert first.status == 0, first.said
    fetched = [i for i, path in enumerate(StandIn.requests) if "/resolve/" in path]
    assert StandIn.requests.index("/api/models/org/gated/auth-check") < fetched[0]
    weights = [i for i in fetched if StandIn.requests[i].endswith("/model.safetensors")]
    others = {StandIn.requests[i] for i in fetched if i < weights[0]}
    assert any(path.endswith("/tokenizer.json") for path in others)
    assert "HF_TOKEN" not in first.said
    StandIn.requests.clear()
    for name, environment in (("2", {"HF_ENDPOINT": NOWHERE}), ("3", {"HF_HUB_OFFLINE": "1"})):
        again = command(tmp_path / name, tmp_path / "home", *words, **environment)
        assert again.status == 0, again.said
        assert verify(again.folder) == []
        for key in ("base_weight_hash", "trained_weight_hash", "revision", "tokenizer_digest", "files"):
            assert again.manifest["model"][key] == first.manifest["model"][key]
    assert first.manifest["model"]["revision"] == COMMIT
    assert read_json(first.folder / "data_card.json")["tokenizer"]["revision"] == COMMIT
    assert StandIn.requests == []


@pytest.mark.slow
def test_a_repository_says_itself_what_model_it_is_and_its_config_is_fetched_first(endpoint, tmp_path):
    StandIn.requests.clear()
    toy = [word for word in TOY if not word.startswith("model.")]
    words = (*toy, "model=hf", f"model.weights={GATED}", "data=nano-reasoning", "eval=nano-eval")
    done = of_model(tmp_path / "1", tmp_path / "home", *words, HF_ENDPOINT=endpoint, HF_TOKEN=ACCEPTED)
    assert done.status == 0, done.said
    model = read_json(done.folder / "config.json")["model"]
    sizes = ("family", "width", "mlp_width", "num_layers", "vocab_size", "stored_dtype", "tokenizer")
    assert [model[key] for key in sizes] == ["gpt2", 16, 32, 1, 258, "float32", GATED]
    assert f"model: from {GATED}/config.json: family=gpt2, " in done.said
    fetched = [path.split("/")[-1] for path in StandIn.requests if "/resolve/" in path]
    assert fetched[0] == "config.json"
    assert verify(done.folder) == []
    preflight = (*words, "mode=preflight")
    StandIn.requests.clear()
    again = of_model(
        tmp_path / "2", tmp_path / "other home", *preflight, HF_ENDPOINT=endpoint, HF_TOKEN=ACCEPTED
    )
    assert again.status == 0, again.said
    assert not [path for path in StandIn.requests if path.endswith("model.safetensors")]
    without = surroundings(tmp_path / "third home", HF_ENDPOINT=endpoint)
    refused = Forked(*words, f"hydra.run.dir={tmp_path / '3'}", environ=without)
    assert refused.wait(timeout=600) == 2
    assert REFUSED["no token"][2] in refused.said
    assert not (tmp_path / "3").exists()
