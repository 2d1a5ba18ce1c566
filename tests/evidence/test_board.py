from pathlib import Path

import pytest

from tunix_exp.errors import UserError
from tunix_exp.evidence.board import EVENT_FILE, Board, as_float32, flatten, read_board
from tunix_exp.evidence.sections import Headline
from tunix_exp.evidence.strict_json import BrokenFile

HEADLINE = Headline(base_score=0.25, trained_score=0.75, difference=0.5, n_items=4)


def _board(folder: Path) -> Path:
    board = Board(folder)
    board.hyperparameters(
        {"optim": {"peak_lr": 1e-3, "name": "adamw", "clip_norm": None}, "do_sample": False}, started_at_s=1.0
    )
    board.scalars(1, {"loss": 2.1, "lr": 1e-3})
    board.scalars(5, {"loss": 1.1, "lr": 5e-4})
    board.text("predictions", "| a | b |", step=5)
    board.finish(HEADLINE, step=5)
    board.close()
    return folder


def test_scalars_are_read_back_as_float32(tmp_path: Path) -> None:
    curves = read_board(_board(tmp_path / "tensorboard")).scalars
    assert curves["loss"] == [(1, as_float32(2.1)), (5, as_float32(1.1))]
    assert curves["final/difference"] == [(5, 0.5)]
    assert sorted(curves) == ["final/base_score", "final/difference", "final/trained_score", "loss", "lr"]


def test_the_folder_holds_one_file_that_names_neither_host_nor_time(tmp_path: Path) -> None:
    folder = _board(tmp_path / "tensorboard")
    assert [path.name for path in folder.rglob("*")] == [EVENT_FILE]


def test_tensorboard_reads_scalars_text_and_hyperparameters(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    metadata = pytest.importorskip("tensorboard.plugins.hparams.metadata")
    events = accumulator.EventAccumulator(str(_board(tmp_path / "tensorboard"))).Reload()
    assert [(e.step, round(e.value, 3)) for e in events.Scalars("loss")] == [(1, 2.1), (5, 1.1)]
    assert events.Tensors("predictions")[0].tensor_proto.string_val == [b"| a | b |"]
    content = events.PluginTagToContent("hparams")
    assert sorted(content) == ["_hparams_/session_start_info"]
    start = metadata.parse_session_start_info_plugin_data(content["_hparams_/session_start_info"])
    assert start.hparams["optim.peak_lr"].number_value == 1e-3
    assert start.hparams["optim.name"].string_value == "adamw"
    assert start.hparams["optim.clip_norm"].string_value == "null"
    assert start.hparams["do_sample"].HasField("bool_value")


@pytest.mark.parametrize(("at", "says"), [(-3, "record 6 "), (40, "record 2 ")])
def test_a_changed_byte_breaks_a_checksum(tmp_path: Path, at: int, says: str) -> None:
    file = _board(tmp_path / "tensorboard") / EVENT_FILE
    content = bytearray(file.read_bytes())
    content[at] ^= 1
    file.write_bytes(content)
    with pytest.raises(BrokenFile, match=says) as caught:
        read_board(file.parent)
    assert caught.value.file == f"tensorboard/{EVENT_FILE}"


@pytest.mark.parametrize("left", [20, 30])
def test_a_cut_file_is_refused(tmp_path: Path, left: int) -> None:
    file = _board(tmp_path / "tensorboard") / EVENT_FILE
    file.write_bytes(file.read_bytes()[:-left])
    with pytest.raises(BrokenFile, match="record 6 is cut, or does not match"):
        read_board(file.parent)


def test_a_number_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    board = Board(tmp_path / "tensorboard")
    with pytest.raises(UserError, match="`loss` is nan"):
        board.scalars(1, {"loss": float("nan")})
    board.close()


def test_a_folder_with_events_is_not_written_again(tmp_path: Path) -> None:
    with pytest.raises(FileExistsError):
        Board(_board(tmp_path / "tensorboard"))


def test_a_closed_board_takes_nothing_more(tmp_path: Path) -> None:
    board = Board(tmp_path / "tensorboard")
    board.close()
    with pytest.raises(RuntimeError, match="the event file is closed"):
        board.scalars(1, {"loss": 1.0})


def test_a_config_is_flattened_to_full_keys() -> None:
    assert flatten({"a": {"b": {"c": 1}}, "d": [1, 2]}) == {"a.b.c": 1, "d": [1, 2]}
