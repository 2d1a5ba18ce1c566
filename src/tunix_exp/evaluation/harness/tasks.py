"""Tasks of the harness by their names: loaded and checked before any weight is, then asked of a model."""

import json
import logging
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import huggingface_hub
import numpy as np
from datasets.packaged_modules import _PACKAGED_DATASETS_MODULES
from lm_eval.api.task import Task
from lm_eval.defaults import DEFAULT_OTHER_SEED, DEFAULT_RANDOM_SEED
from lm_eval.evaluator import evaluate
from lm_eval.tasks import TaskManager
from lm_eval.tasks._yaml_loader import load_yaml
from lm_eval.tasks.manager import TaskDict
from lm_eval.utils import handle_non_serializable, hash_string

from tunix_exp.data.tokenizer import Tokenizer
from tunix_exp.errors import UserError, did_you_mean, nearest
from tunix_exp.evaluation.config import HarnessEvalConfig
from tunix_exp.evaluation.harness.bridge import Bridge, Progress, ending
from tunix_exp.evaluation.harness.records import Answered, answered
from tunix_exp.models.architecture import LanguageModel

_TIMEOUT_S = 4.0
_OFF_LINE = "; HF_HUB_OFFLINE is set, so that only data sets in the cache are found: fetch it once without"
# Data that these read lies where the task's file says: on this machine, mostly.
_LOCAL_BUILDERS = frozenset(_PACKAGED_DATASETS_MODULES)


@dataclass(frozen=True, slots=True)
class Tasks:
    """Loaded tasks with their documents, ready to be asked of any model alike."""

    config: HarnessEvalConfig
    loaded: TaskDict
    system: str | None

    @property
    def lm_eval_version(self) -> str:
        """The release of the harness."""
        return version("lm-eval")

    def documents(self) -> Iterator[tuple[str, int, str]]:
        """Every document that is asked: its task, its number, and the hash that the harness gives it."""
        for name, task in self.loaded["tasks"].items():
            for number, doc in task.doc_iterator(limit=self.config.max_items, rank=0, world_size=1):
                spelled = json.dumps(doc, indent=2, default=handle_non_serializable, ensure_ascii=False)
                yield name, number, hash_string(spelled)

    def ask(
        self, model: LanguageModel, tokenizer: Tokenizer, *, progress: Progress, say: Callable[[str], None]
    ) -> Answered:
        """What `model` makes of all tasks: every item, and the harness's own results."""
        config = self.config
        bridge = Bridge(
            model,
            tokenizer,
            batch_size=config.batch_size,
            max_new_tokens=config.max_new_tokens,
            is_chat=config.apply_chat_template,
            progress=progress,
        )
        with _told(say):
            _seed()
            for task in self.loaded["tasks"].values():
                # the same examples for every model, whoever was asked before
                task.set_fewshot_seed(seed=config.fewshot_seed)
            results = evaluate(
                lm=bridge,
                task_dict=self.loaded,
                limit=config.max_items,
                # intervals are ours, of pairs; the harness's would fork this process to draw them
                bootstrap_iters=0,
                log_samples=True,
                system_instruction=self.system if config.apply_chat_template else None,
                apply_chat_template=config.apply_chat_template,
                fewshot_as_multiturn=config.fewshot_as_multiturn,
            )
        assert results is not None
        return answered(dict(results), self.loaded["tasks"], bridge.cut, self.lm_eval_version)


def load_tasks(
    config: HarnessEvalConfig, *, system: str | None, num_positions: int, say: Callable[[str], None]
) -> Tasks:
    """The tasks that `config` names, with their documents; a `UserError` for what cannot be asked.

    `say` is told what the harness warns of.
    """
    with _told(say):
        _seed()
        manager = _manager(config)
        _refuse_out_of_reach(manager, config.tasks)
        try:
            loaded = manager.load(list(config.tasks))
        # The libraries let errors of a dozen packages through; each means that the tasks cannot be asked.
        except Exception as error:
            raise UserError(
                f"{', '.join(config.tasks)} cannot be loaded: {type(error).__name__}: {_first_line(error)}",
                where="eval.tasks",
                remedy="check the task's file, and its data set's name and place"
                + _OFF_LINE * huggingface_hub.is_offline_mode(),
            ) from error
        for name, task in loaded["tasks"].items():
            _refuse_what_we_cannot(name, task, config, num_positions)
            _set_fewshot(name, task, config, say)
    return Tasks(config, loaded, system)


def _manager(config: HarnessEvalConfig) -> TaskManager:
    """The index of one's own folder, where all tasks lie in it; else, after seconds, of all."""
    own = config.include_path
    if own is not None:
        folder = Path(own).expanduser()
        if not folder.is_dir():
            raise UserError(
                f"`{own}` is not a folder", where="eval.include_path", remedy="name the folder of task files"
            )
        manager = TaskManager(include_path=str(folder), include_defaults=False)
        if set(config.tasks) <= set(manager.all_tasks):
            return manager
        own = str(folder)
    manager = TaskManager(include_path=own)
    unknown = [name for name in config.tasks if name not in manager.task_index]
    if unknown:
        broken = [] if own is None else list(_broken_files(Path(own)))
        raise UserError(
            f"the harness has no task {', '.join(unknown)}"
            + did_you_mean(*(nearest(name, manager.all_tasks) for name in unknown))
            + "".join(f"\n  {line}" for line in broken),
            where="eval.tasks",
            remedy="`lm-eval ls tasks` lists them; files of your own lie in the folder eval.include_path",
        )
    return manager


def _broken_files(folder: Path) -> Iterator[str]:
    """The task files below `folder` that the harness passes over, and why."""
    for file in sorted(folder.rglob("*.yaml")):
        try:
            load_yaml(file, resolve_func=False)
        except Exception as error:
            yield f"{file} cannot be read: {_first_line(error)}"


def _refuse_out_of_reach(manager: TaskManager, names: tuple[str, ...]) -> None:
    """Nothing, or a `UserError` when data sets are on the Hub and that does not answer the first time."""
    if huggingface_hub.is_offline_mode():
        return  # the cache is asked, once
    for task, data_set in sorted(_hub_data_sets(manager, names)):
        try:
            huggingface_hub.get_session().timeout = _TIMEOUT_S
            huggingface_hub.HfApi().dataset_info(data_set, timeout=_TIMEOUT_S)
        except Exception as error:
            raise UserError(
                f"the data set {data_set} of the task {task} cannot be reached on the Hub: "
                f"{type(error).__name__}: {_first_line(error)}",
                where="eval.tasks",
                remedy="check the connection, and for a gated set HF_TOKEN; with HF_HUB_OFFLINE=1 a data set"
                " that was loaded before is taken from the cache",
            ) from error


def _hub_data_sets(manager: TaskManager, names: tuple[str, ...]) -> set[tuple[str, str]]:
    """The tasks below `names` with the repositories that they load, as far as their files say."""
    found, seen, open_names = set(), set(), list(names)
    while open_names:
        name = open_names.pop()
        entry = manager.task_index.get(name)
        if entry is None or name in seen:
            continue
        seen.add(name)
        cfg = entry.cfg or {}
        members = cfg["task"] if isinstance(cfg.get("task"), list) else []
        open_names += [one for one in members if isinstance(one, str)]
        open_names += [str(one["task"]) for one in members if isinstance(one, dict) and "task" in one]
        open_names += sorted(entry.tags) if entry.yaml_path is None else []
        path = cfg.get("dataset_path")
        if isinstance(path, str) and path not in _LOCAL_BUILDERS and not Path(path).exists():
            found.add((name, path))
    return found


def _refuse_what_we_cannot(name: str, task: Task, config: HarnessEvalConfig, num_positions: int) -> None:
    if getattr(task, "UNSAFE_CODE", False) or getattr(task, "MULTIMODAL", False):
        what = (
            "runs code that a model wrote"
            if getattr(task, "UNSAFE_CODE", False)
            else "shows pictures or sound"
        )
        raise UserError(
            f"the task {name} {what}", where="eval.tasks", remedy="choose a task of text, scored as text"
        )
    if task.OUTPUT_TYPE == "generate_until":
        asked = ending(dict(task.config.generation_kwargs or {}), name, cap=config.max_new_tokens)
        if asked.max_new_tokens >= num_positions:
            raise UserError(
                f"the task {name} lets an answer have {asked.max_new_tokens} tokens, and with its prompt it"
                f" must fit the model's {num_positions} positions",
                where="eval.max_new_tokens",
                remedy="cap it: eval.max_new_tokens=N",
            )


def _set_fewshot(name: str, task: Task, config: HarnessEvalConfig, say: Callable[[str], None]) -> None:
    """The number of examples: the config's, but a task whose file says 0 stays at 0, as in the harness."""
    own = task.config.num_fewshot
    if config.num_fewshot is not None and own == 0 != config.num_fewshot:
        say(f"harness: {name} is zero-shot by its task file; eval.num_fewshot does not apply")
    elif config.num_fewshot is not None:
        task.set_config(key="num_fewshot", value=config.num_fewshot)
    elif own is None:
        task.set_config(key="num_fewshot", value=0)


def _seed() -> None:
    """The seeds that the harness begins with, for tasks that draw from the global generators."""
    random.seed(DEFAULT_RANDOM_SEED)
    np.random.seed(DEFAULT_OTHER_SEED)


@contextmanager
def _told(say: Callable[[str], None]) -> Iterator[None]:
    """What the harness warns of inside is told to `say`, once each."""
    handler = _Telling(say)
    logger = logging.getLogger("lm_eval")
    propagates, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagates


class _Telling(logging.Handler):
    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__(level=logging.WARNING)
        self._say = say
        self._said: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        text = " ".join(record.getMessage().split())
        if text not in self._said:
            self._said.add(text)
            self._say(f"harness: {text}")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0]
