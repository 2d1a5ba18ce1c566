import subprocess

import pytest

from tunix_exp.doctor import software

LOCK = b"""
version = 1
[[package]]
name = "jax"
version = "0.10.2"
[[package]]
name = "jax"
version = "0.11.0"
[[package]]
name = "ruamel-yaml"
version = "1.0"
[[package]]
name = "tunix-exp"
source = { editable = "." }
"""


def test_packages_of_the_lock_s_versions_are_well_and_others_are_not_looked_at():
    found = software.packages(LOCK, {"jax": "0.11.0", "Ruamel.YAML": "1.0", "pip": "25", "tunix-exp": "9"})
    assert (found.level, found.says) == ("ok", "2 installed, all in the versions of uv.lock")


def test_another_version_is_a_warning_that_names_both():
    found = software.packages(LOCK, {"jax": "0.9.0", "ruamel-yaml": "1.0"})
    assert found.level == "warn"
    assert "1 of 2 have other versions than uv.lock: jax 0.9.0 (0.10.2 or 0.11.0)" in found.says
    assert found.remedy is not None


@pytest.fixture
def package(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    folder = tmp_path / "src" / "package"
    folder.mkdir(parents=True)
    (folder / "code.py").write_text("x = 1\n")
    (tmp_path / "uv.lock").write_bytes(LOCK)
    who = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
        subprocess.run(["git", *who, "-C", str(tmp_path), *words], check=True)
    return folder


def test_the_code_is_told_by_its_commit_and_whether_it_has_changed(package):
    found, lock = software.code(package)
    assert (found.level, lock) == ("ok", LOCK)
    assert found.says.endswith(", nothing changed")
    (package / "code.py").write_text("x = 2\n")
    assert "runs keep what differs from it as source.patch" in software.code(package)[0].says


def test_a_change_too_large_for_a_run_to_keep_fails_before_the_run_does(package, monkeypatch):
    (package / "code.py").write_text("x = 2\n")
    monkeypatch.setattr(software.checkout, "MOST_PATCH_BYTES", 10)
    found, _ = software.code(package)
    assert found.level == "fail"
    assert "largest: src/package/code.py" in found.says


def test_outside_a_checkout_only_the_version_is_told(tmp_path):
    found, lock = software.code(tmp_path / "lib" / "package")
    assert lock is None
    assert "outside a git checkout" in found.says


def test_only_variables_that_are_set_and_named_are_told():
    environ = {"XLA_FLAGS": "--x", "HF_TOKEN": "hf_secret"}
    (found,) = software.environment(environ, ["XLA_FLAGS", "OMP_NUM_THREADS"])
    assert found.says == "set, and recorded by every run: XLA_FLAGS=--x"
    assert list(software.environment({}, ["XLA_FLAGS"])) == []
