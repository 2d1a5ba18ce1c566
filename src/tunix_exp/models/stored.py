"""What a Hugging Face folder stores: its weight files and the tensors in them; no value is read."""

from pathlib import Path

from tunix_exp.errors import UserError
from tunix_exp.models.safetensors_file import Stored, stored
from tunix_exp.models.weight_map import WeightMap, each_layer, short_name
from tunix_exp.received import AGAIN, UNPICKLE, file_in, kind_of, read_object, shown, unreadable

FLOATS = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64"}
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
_MOST_NAMED = 5


def check_folder(folder: Path, key: str = "model.weights") -> None:
    """`folder` is one; else UserError."""
    try:
        is_there, is_folder = folder.exists(), folder.is_dir()
    except OSError as error:
        raise unreadable(folder, error) from error
    if not is_folder:
        raise UserError(
            f"{folder} is a file, not a folder" if is_there else f"no folder {folder}",
            where=key,
            remedy=f"name an existing folder, or {'hub:… or ' if key == 'model.weights' else ''}random",
        )


def weight_files(folder: Path) -> list[Path]:
    """The files that hold the folder's weights: one, or those that its index names."""
    index, single = file_in(folder, INDEX), file_in(folder, SINGLE)
    if index is not None and single is not None:
        raise UserError(
            f"the folder holds both {SINGLE} and {INDEX}, and nothing says which is meant",
            where=str(folder),
            remedy="take one of them out of it",
        )
    if index is not None:
        return _shards(folder, sorted(set(_weight_map(index).values())))
    if single is not None:
        return [single]
    raise _without(SINGLE, f"neither {SINGLE} nor {INDEX} in the folder", folder, "model.weights")


def pickled_or_absent(folder: Path, name: str, key: str) -> UserError:
    """The refusal of a folder that lacks `name`, its weights."""
    return _without(name, f"no {name} in {folder}", folder, key)


def tensors(files: list[Path], weight_map: WeightMap) -> dict[str, Stored]:
    """Every stored tensor of the text model by its short name; where there is an index, those it names."""
    found: dict[str, Stored] = {}
    twice = []
    file_of = {}
    for tensor in (tensor for file in files for tensor in stored(file)):
        short = short_name(tensor.name, weight_map)
        if tensor.name in file_of or short in found:
            twice.append(tensor.name)
        file_of[tensor.name] = tensor.file.name
        if short is not None:
            found[short] = tensor
    if twice:
        raise UserError(
            f"tensors are stored twice: {', '.join(map(shown, sorted(twice)))}",
            where=str(files[0].parent),
            remedy="name other weights in model.weights",
        )
    index = file_in(files[0].parent, INDEX)
    if index is not None and files[0].name != SINGLE:
        _check_index(index, file_of)
    return found


def left_out(files: list[Path], weight_map: WeightMap) -> dict[str, int]:
    """How many stored tensors are of no text model, by the part of the checkpoint that they are of."""
    names = [tensor.name for file in files for tensor in stored(file)]
    others = () if weight_map.within is None else weight_map.within.others
    counts = {part.rstrip("."): sum(name.startswith(part) for name in names) for part in others}
    return {part: count for part, count in counts.items() if count}


def stored_dtypes(folder: Path, weight_map: WeightMap, num_layers: int) -> tuple[str, ...]:
    """The dtypes that the parameters in `folder` are stored in, by our names; read from headers alone."""
    found = tensors(weight_files(folder), weight_map)
    names = [name for row in weight_map.rows for name in each_layer(row.name, num_layers)]
    kinds = {found[name].dtype for name in names if name in found}
    return tuple(sorted(FLOATS[kind] for kind in kinds & FLOATS.keys()))


def _without(name: str, what: str, folder: Path, key: str) -> UserError:
    pickles = sorted(file.name for pattern in PICKLES for file in folder.glob(pattern))
    if pickles:
        return UserError(
            f"the weights are pickled ({', '.join(pickles)}), and a pickle can run any code when it is read",
            where=str(folder),
            remedy="convert them where you trust them and have PyTorch, and name ./converted in model.weights"
            f": {UNPICKLE.format(place=folder)}"
            if name == SINGLE
            else f"convert them where you trust them (PEFT: save_pretrained), or set {key}=random",
        )
    kind = "safetensors" if name == SINGLE else "a PEFT adapter"
    return UserError(
        what, where=str(folder), remedy=f"name a folder with {kind} in {key}, or set {key}=random"
    )


def _weight_map(index: Path) -> dict[str, str]:
    """The file of every tensor, as the index tells it: plain names of files in its own folder."""
    said = read_object(index)
    if "weight_map" not in said:
        raise UserError(f"{INDEX} has no weight_map", where=str(index), remedy=AGAIN)
    files = said["weight_map"]
    if not isinstance(files, dict) or not files:
        what = "is empty" if files == {} else f"is {kind_of(files)}, not an object"
        raise UserError(f"the weight_map of {INDEX} {what}", where=str(index), remedy=AGAIN)
    for tensor, file in files.items():
        if not isinstance(file, str) or not _is_plain(file):
            raise UserError(
                f"{INDEX} says that {shown(tensor)} lies in {shown(file)}, which is not the name of a file"
                " beside it",
                where=str(index),
                remedy="put the weights into the folder itself, and their plain names into the index",
            )
    return files


def _is_plain(name: str) -> bool:
    return bool(name) and name not in (".", "..") and not set(name) & set("/\\\0")


def _shards(folder: Path, names: list[str]) -> list[Path]:
    files = {name: file_in(folder, name) for name in names}
    absent = [shown(name) for name, file in files.items() if file is None]
    if absent:
        raise UserError(
            f"{INDEX} names files that are not there: {', '.join(absent)}", where=str(folder), remedy=AGAIN
        )
    return [file for file in files.values() if file is not None]


def _check_index(index: Path, file_of: dict[str, str]) -> None:
    said = _weight_map(index)
    faults = [
        f"{shown(name)} is not in {shown(file)}, where the index says it is"
        for name, file in said.items()
        if name not in file_of or file_of[name] != file
    ]
    faults += [
        f"{shown(name)} is in {shown(file)}, and the index does not say so"
        for name, file in file_of.items()
        if name not in said
    ]
    if faults:
        more = [f"… and {len(faults) - _MOST_NAMED} more"] if len(faults) > _MOST_NAMED else []
        lines = "\n".join(f"  {fault}" for fault in [*faults[:_MOST_NAMED], *more])
        raise UserError(f"{INDEX} and its files differ:\n{lines}", where=str(index), remedy=AGAIN)
