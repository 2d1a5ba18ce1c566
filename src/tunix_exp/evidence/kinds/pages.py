"""What a person reads: drawn from the other files, so that it holds no fact of its own."""

from tunix_exp.evidence.kinds.kind import ANY_END, Kind, always, only, when_computed
from tunix_exp.evidence.layout import LOG

README = Kind(
    path="README.md",
    name="page",
    holds="the run on a page: result, what was run, how to reproduce and verify it",
    when=always,
)
REPORT = Kind(
    path="report.html",
    name="report",
    holds="curves, comparison, every prediction and the config as an HTML page; works offline",
    when=always,
    is_open=True,
)
CURVES = Kind(
    path="curves.png",
    name="curves",
    holds="loss, learning rate, gradient norm and throughput over the steps",
    when=only("must", lambda facts: facts.trains and not facts.took_no_step),
)
EXAMPLE = Kind(
    path="example.txt",
    name="example",
    holds="one training example as the model sees it, its loss mask marked",
    when=when_computed,
)
DEVICE_CHECK = Kind(
    path="device_check.txt",
    name="device check",
    holds="the devices, and what they computed when they were tried",
    when=always,
)
ENVIRONMENT = Kind(
    path="env_info.txt",
    name="environment",
    holds="interpreter, packages, operating system, processor",
    when=always,
)
TRAINING_LOG = Kind(
    path=LOG, name="log", holds="the console output, with times", when=always, also_at=ANY_END, is_open=True
)
FAILURE_ANALYSIS = Kind(
    path="failure_analysis.md",
    name="failure analysis",
    holds="why the run failed, and what to do",
    when=only("may", lambda facts: False),
    also_at=frozenset({"failed"}),
)
