import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from tunix_exp.errors import UserError
from tunix_exp.evidence import checkout
from tunix_exp.evidence.checkout import git_state, of_code, refuse_large, source_code


def git(root: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *words], check=True, capture_output=True)
    return done.stdout.decode()


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with one commit: a package, a config tree, a lock."""
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "A")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "a@example.org")
    # what a user may have set, and what would make a patch that does not apply
    (tmp_path / "gitconfig").write_text(
        "[diff]\n  noprefix = true\n  external = false\n[color]\n  ui = always\n"
    )
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    top = tmp_path / "top"
    for name, text in {
        "src/package/code.py": "x = 1\n",
        "conf/config.yaml": "a: 1\n",
        "uv.lock": "version = 1\n",
        ".gitignore": "*.pyc\n",
    }.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(text)
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
        git(top, *words)
    return top


def state_of(top: Path) -> checkout.GitState:
    found = git_state(top / "src" / "package", sources=(top / "src" / "package", top / "conf"))
    assert found is not None
    return found


def test_a_clean_checkout_has_a_commit_a_lock_and_no_patch(tree: Path) -> None:
    found = source_code(tree / "src" / "package")
    assert found.patch == b""
    assert found.record.git_commit == git(tree, "rev-parse", "HEAD").strip()
    assert (found.record.git_dirty, found.record.git_diff_sha256) == (False, None)
    assert found.lock == b"version = 1\n"
    assert found.record.lock_sha256 == hashlib.sha256(b"version = 1\n").hexdigest()


def test_the_patch_makes_the_checkout_of_the_commit(tree: Path, tmp_path: Path) -> None:
    package = tree / "src" / "package"
    (package / "code.py").write_bytes(b"caf\xe9 = 2\r\n")
    (tree / "uv.lock").unlink()
    (package / "new file.py").write_text("y = 1\n")
    (package / "empty.py").touch()
    (package / "data.bin").write_bytes(bytes(range(256)))
    (tree / "conf" / "mine.yaml").write_text("b: 2\n")
    (tree / ".env").write_text("HF_TOKEN=hf_secret\n")
    (package / "code.pyc").touch()
    before = git(tree, "status", "--porcelain", "--ignored")
    index = (tree / ".git" / "index").read_bytes()
    found = source_code(package)
    assert git(tree, "status", "--porcelain", "--ignored") == before
    assert (tree / ".git" / "index").read_bytes() == index
    assert found.record.git_diff_sha256 == hashlib.sha256(of_code(found.patch)).hexdigest()

    (tmp_path / "source.patch").write_bytes(found.patch)
    git(tmp_path, "clone", "-q", str(tree), "again")
    again = tmp_path / "again"
    git(again, "apply", "--allow-empty", str(tmp_path / "source.patch"))
    assert (again / "src/package/code.py").read_bytes() == b"caf\xe9 = 2\r\n"
    assert (again / "src/package/new file.py").read_text() == "y = 1\n"
    assert (again / "src/package/empty.py").exists()
    assert (again / "src/package/data.bin").read_bytes() == bytes(range(256))
    assert (again / "conf/mine.yaml").read_text() == "b: 2\n"
    assert not (again / "uv.lock").exists()
    assert not (again / ".env").exists()


def test_a_change_of_the_same_second_and_size_is_in_the_patch_beside_a_new_file(tree: Path) -> None:
    code, then = tree / "src/package/code.py", (10**9, 10**9)
    git(tree, "config", "core.trustctime", "false")
    os.utime(code, then)
    git(tree, "add", ".")
    os.utime(tree / ".git" / "index", then)
    code.write_text("x = 9\n")
    os.utime(code, then)
    (tree / "src/package/new.py").write_text("y = 1\n")
    patch = state_of(tree).patch.decode()
    assert "+x = 9" in patch
    assert "+y = 1" in patch


def test_an_untracked_file_that_is_no_source_is_named_by_its_hash_alone(tree: Path, tmp_path: Path) -> None:
    (tree / "notes.txt").write_text("private\n")
    found = source_code(tree / "src" / "package")
    assert found.record.git_dirty is False
    assert (
        found.patch.decode()
        == f"untracked {hashlib.sha256(b'private' + bytes([10])).hexdigest()} notes.txt\n"
    )
    (tmp_path / "source.patch").write_bytes(found.patch)
    git(tree, "apply", "--allow-empty", str(tmp_path / "source.patch"))


def test_a_log_that_grows_in_the_checkout_leaves_the_code_what_it_was(tree: Path) -> None:
    package = tree / "src" / "package"
    clean = source_code(package).record
    (tree / "two\nlines.log").write_text("first\n")
    assert source_code(package).record == clean
    (package / "code.py").write_text("x = 2\n")
    changed = source_code(package).record
    assert changed.git_dirty
    (tree / "two\nlines.log").write_text("first\nsecond\n")
    assert source_code(package).record == changed
    patch = source_code(package).patch
    assert patch.startswith(b"untracked ")
    assert changed.git_diff_sha256 == hashlib.sha256(of_code(patch)).hexdigest()


def test_a_large_untracked_file_is_named_by_its_size(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkout, "_MOST_HASHED_BYTES", 5)
    (tree / "weights.bin").write_bytes(bytes(6))
    (tree / "link").symlink_to("weights.bin")
    assert state_of(tree).patch.decode().splitlines() == [
        f"untracked {'-' * 64} link",
        f"untracked {'6 bytes':-^64} weights.bin",
    ]


def test_a_patch_too_large_to_keep_is_refused_with_its_largest_files(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tree / "src/package/small.py").write_text("y\n")
    (tree / "src/package/large.py").write_text("x\n" * 900)
    patch = state_of(tree).patch
    refuse_large(patch)
    monkeypatch.setattr(checkout, "MOST_PATCH_BYTES", 2**10)
    with pytest.raises(UserError, match=r"largest: src/package/large.py, src/package/small.py") as refused:
        refuse_large(patch)
    assert "git stash" in str(refused.value)


def test_a_git_that_fails_is_an_error_and_no_clean_checkout(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = checkout._git
    monkeypatch.setattr(
        checkout, "_git", lambda root, *w, **k: None if w[0] == "diff" else answers(root, *w, **k)
    )
    with pytest.raises(UserError, match="git does not tell how the checkout differs"):
        source_code(tree / "src" / "package")


def test_outside_a_checkout_only_the_version_is_known(tmp_path: Path) -> None:
    package = tmp_path / "lib" / "package"
    package.mkdir(parents=True)
    found = source_code(package)
    assert found.record.version
    assert (found.record.git_commit, found.record.git_dirty, found.record.lock_sha256) == (None, None, None)


def test_a_package_inside_a_foreign_checkout_has_not_its_commit(tree: Path) -> None:
    installed = tree / "site-packages" / "tunix_exp"
    installed.mkdir(parents=True)
    (installed / "module.py").write_text("")
    assert git_state(installed, sources=(installed,)) is None
