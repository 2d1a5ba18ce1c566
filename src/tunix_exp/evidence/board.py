"""The run on TensorBoard: one event file with the scalars, the hyperparameters and sample predictions.

Written record by record through tensorboardX's protos rather than its `SummaryWriter`, which queues in a
thread, names its file by host and time, and puts hyperparameters into a second run.
"""

import importlib
import itertools
import json
import struct
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tunix_exp import interruption
from tunix_exp.evidence.kinds.config import flatten
from tunix_exp.evidence.sections import Headline
from tunix_exp.evidence.strict_json import BrokenFile, refuse_non_finite

FOLDER = "tensorboard"
EVENT_FILE = "events.out.tfevents.run"
FINAL = "final/"

_FLUSH_EVERY_S = 5.0
# A record lies between its length and its checksum; the length has one too.
_LENGTH, _CRC = struct.Struct("<Q"), struct.Struct("<I")


class Board:
    """The event file of one run, open for writing."""

    def __init__(self, folder: Path) -> None:
        """Begin the event file in `folder`, which must hold none yet."""
        from tensorboardX.record_writer import RecordWriter

        folder.mkdir(parents=True, exist_ok=True)
        file = folder / EVENT_FILE
        if file.exists():
            raise FileExistsError(file)
        self._records = RecordWriter(str(file))
        self._flushed_at = time.monotonic()
        self._is_open = True
        self._write(file_version="brain.Event:2")

    def scalars(self, step: int, figures: Mapping[str, float]) -> None:
        """Each figure is a point of its curve at `step`; a number that is not finite is refused."""
        refuse_non_finite(dict(figures), file=f"{FOLDER}/{EVENT_FILE}")
        summary = _proto("summary").Summary
        values = [summary.Value(tag=tag, simple_value=value) for tag, value in figures.items()]
        self._write(step=step, summary=summary(value=values))

    def hyperparameters(self, config: Mapping[str, Any], *, started_at_s: float) -> None:
        """The run stands in the HParams tab with every leaf of `config` under its full key.

        No experiment summary is written: TensorBoard takes the first one it finds for all runs, so that
        a run with other keys would lose its own; without one it reads keys and metrics off every run.
        """
        start = _proto("plugin_hparams").SessionStartInfo(start_time_secs=started_at_s)
        fields = {bool: "bool_value", float: "number_value", str: "string_value"}
        for key, value in hyperparameters(config).items():
            setattr(start.hparams[key], fields[type(value)], value)
        data = _proto("plugin_hparams").HParamsPluginData(version=0, session_start_info=start)
        self._write_plugin("hparams", data, "_hparams_/session_start_info")

    def text(self, tag: str, markdown: str, *, step: int) -> None:
        """`markdown` is in the Text tab under `tag`."""
        shape = _proto("tensor_shape").TensorShapeProto
        tensor = _proto("tensor").TensorProto(
            dtype="DT_STRING", string_val=[markdown.encode()], tensor_shape=shape(dim=[shape.Dim(size=1)])
        )
        self._write_plugin(
            "text", _proto("plugin_text").TextPluginData(version=0), tag, step=step, tensor=tensor
        )

    def finish(self, headline: Headline | None, *, step: int) -> None:
        """The headline's figures, where there is one, are the run's final metrics.

        The HParams session is left without an end: how a run ended, its manifest alone may say.
        """
        if headline is not None:
            self.scalars(step, final_figures(headline))

    def close(self) -> None:
        """Every record is on disk."""
        if self._is_open:
            self._records.flush()
            self._records.close()
            self._is_open = False

    def _write_plugin(self, plugin: str, data: Any, tag: str, *, step: int = 0, **value: Any) -> None:
        """One value with what a plugin of TensorBoard needs to know of it."""
        summary = _proto("summary")
        content = summary.SummaryMetadata.PluginData(plugin_name=plugin, content=data.SerializeToString())
        metadata = summary.SummaryMetadata(plugin_data=content)
        self._write(
            step=step,
            summary=summary.Summary(value=[summary.Summary.Value(tag=tag, metadata=metadata, **value)]),
        )

    def _write(self, **fields: Any) -> None:
        if not self._is_open:
            raise RuntimeError("the event file is closed")
        event = _proto("event").Event(wall_time=time.time(), **fields)
        with interruption.held():  # a record is several writes
            self._records.write(event.SerializeToString())
            if time.monotonic() - self._flushed_at > _FLUSH_EVERY_S:
                self._records.flush()
                self._flushed_at = time.monotonic()


def final_figures(headline: Headline) -> dict[str, float]:
    """The headline's numbers by the tags that they have on the board."""
    scores = headline.model_dump(exclude={"n_items"})
    return {FINAL + name: value for name, value in scores.items() if value is not None}


def hyperparameters(config: Mapping[str, Any]) -> dict[str, str | float | bool]:
    """Every leaf of `config` by its full key, as the HParams tab holds it."""
    return {key: _hyperparameter(value) for key, value in flatten(config).items()}


def _hyperparameter(value: Any) -> str | float | bool:
    if isinstance(value, bool | str):
        return value
    return float(value) if isinstance(value, int | float) else json.dumps(value)


class BoardContent(NamedTuple):
    """What event files hold: curves as (step, float32 value) by tag, hyperparameters by key."""

    scalars: dict[str, list[tuple[int, float]]]
    hyperparameters: dict[str, str | float | bool]


def read_board(folder: Path) -> BoardContent:
    """What the event files of `folder` hold, in the order in which it was written.

    A record that is cut or whose checksum does not match is a `BrokenFile`.
    """
    content = BoardContent({}, {})
    for path in sorted(folder.glob("*tfevents*")):
        for record in records(path, f"{folder.name}/{path.name}"):
            event = _proto("event").Event.FromString(record)
            for value in event.summary.value:
                plugin = value.metadata.plugin_data
                if value.WhichOneof("value") == "simple_value":
                    content.scalars.setdefault(value.tag, []).append((event.step, value.simple_value))
                elif plugin.plugin_name == "hparams":
                    data = _proto("plugin_hparams").HParamsPluginData.FromString(plugin.content)
                    for key, entry in data.session_start_info.hparams.items():
                        content.hyperparameters[key] = getattr(entry, entry.WhichOneof("kind"))
    return content


def as_float32(value: float) -> float:
    """`value` as a scalar event holds it."""
    try:
        return struct.unpack("<f", struct.pack("<f", value))[0]
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def records(path: Path, name: str) -> Iterator[bytes]:
    """The records of an event file, called `name`; a `BrokenFile` where one is cut or damaged."""
    # TensorBoard's loaders end in silence at a record that is cut, and load TensorFlow where it is installed;
    # what lies beneath them takes 0.2 s to import.
    from tensorboardX.record_writer import masked_crc32c

    with path.open("rb") as file:
        for number in itertools.count(1):
            length, length_crc = file.read(_LENGTH.size), file.read(_CRC.size)
            if not length:
                return
            is_whole = length_crc == _CRC.pack(masked_crc32c(length))
            record = file.read(_LENGTH.unpack(length)[0]) if is_whole else b""
            if not is_whole or file.read(_CRC.size) != _CRC.pack(masked_crc32c(record)):
                raise BrokenFile(name, f"record {number} is cut, or does not match its checksum")
            yield record


def _proto(name: str) -> Any:
    # on use: the import takes longer than all else that a config check or `verify` of a small run does
    return importlib.import_module(f"tensorboardX.proto.{name}_pb2")
