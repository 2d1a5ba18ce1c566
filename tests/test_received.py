import os

import pytest

from tunix_exp.errors import UserError
from tunix_exp.received import LFS_POINTER, file_in, read_object, shown


def refusal(folder, name="config.json"):
    with pytest.raises(UserError) as caught:
        read_object(file_in(folder, name) or folder / name)
    assert caught.value.where
    assert str(folder) in caught.value.where
    assert caught.value.remedy
    return str(caught.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "config.json is empty"),
        (b" \n", "config.json is empty"),
        (b"[1]", "config.json holds a list, not a JSON object"),
        (b"null", "config.json holds null, not a JSON object"),
        (b'{"a": 1,\n"b" 2}', "config.json, line 2"),
        (b'{"a": 1, "a": 2}', "config.json has the key `a` twice"),
        (b'{"a": NaN}', "config.json holds NaN, which is no number"),
        (b'{"a": ' + b"9" * 6000 + b"}", "config.json holds a number of 6000 digits"),
        (b'{"a": ' + b"[" * 100_000, "config.json is nested too deep"),
        (b'{"a": ' + b"[" * 200 + b"]" * 200 + b"}", "config.json is nested too deep"),
        (b'{"a":\n"\xe9"}', "config.json, line 2"),
        (b"\xef\xbb\xbf{}", "config.json begins with a byte-order mark (UTF-8)"),
        ("{}".encode("utf-16"), "config.json begins with a byte-order mark (UTF-16)"),
        (LFS_POINTER + b"v1\noid sha256:0\nsize 1\n", "config.json is a Git LFS pointer"),
    ],
)
def test_a_file_that_holds_no_object_is_refused_with_what_it_holds(tmp_path, content, says):
    (tmp_path / "config.json").write_bytes(content)
    assert says in refusal(tmp_path)


def test_the_remedy_of_a_pointer_is_git_lfs(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(LFS_POINTER + b"v1\n")
    assert "type `git lfs pull` in its folder" in refusal(tmp_path, "model.safetensors")


def test_a_folder_a_device_and_what_cannot_be_opened_are_no_files(tmp_path, monkeypatch):
    (tmp_path / "config.json").mkdir()
    assert "config.json is a folder, not a file" in refusal(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    assert "pipe is a device, not a file" in refusal(tmp_path, "pipe")
    assert "cannot be read: File name too long" in refusal(tmp_path, "x" * 300)

    def refuse(self, *arguments):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "closed").write_text("{}")
    monkeypatch.setattr("pathlib.Path.open", refuse)
    assert "closed cannot be read: Permission denied" in refusal(tmp_path, "closed")


def test_no_file_is_none(tmp_path):
    assert file_in(tmp_path, "config.json") is None


def test_a_link_may_not_lead_out_of_its_folder(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "outside.json").write_text("{}")
    (home / "config.json").symlink_to(tmp_path / "outside.json")
    assert f"a link that leads out of the folder, to {tmp_path / 'outside.json'}" in refusal(home)
    (home / "inside.json").write_text("{}")
    (home / "link.json").symlink_to("inside.json")
    assert file_in(home, "link.json") == home / "link.json"
    (home / "absent.json").symlink_to("nothing")
    assert "absent.json is a link to a file that is not there" in refusal(home, "absent.json")
    (home / "loop.json").symlink_to("loop.json")
    assert "loop.json cannot be read" in refusal(home, "loop.json")


def test_a_folder_may_itself_be_a_link(tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "config.json").write_text("{}")
    (tmp_path / "link").symlink_to("home")
    assert file_in(tmp_path / "link", "config.json") == tmp_path / "link" / "config.json"


def test_a_snapshot_of_the_hub_s_cache_links_to_its_blobs(tmp_path):
    repository = tmp_path / "models--org--name"
    snapshot = repository / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    (repository / "blobs").mkdir()
    (repository / "blobs" / "abcd").write_text('{"a": 1}')
    (snapshot / "config.json").symlink_to("../../blobs/abcd")
    file = file_in(snapshot, "config.json")
    assert file is not None
    assert read_object(file) == {"a": 1}
    (tmp_path / "other").write_text("{}")
    (snapshot / "other.json").symlink_to("../../../other")
    assert "leads out of the folder" in refusal(snapshot, "other.json")


def test_what_a_file_holds_is_told_short_and_in_characters_that_can_be_written():
    assert shown("a\ud800") == r"'a\ud800'"
    assert len(shown(list(range(1000)))) == 100
