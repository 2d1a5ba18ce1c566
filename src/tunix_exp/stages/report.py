"""The last figures, the curves and the pages of a run, which is complete and verified then."""

from tunix_exp.config import RunConfig
from tunix_exp.device import hosts
from tunix_exp.device.check import peak_memory
from tunix_exp.evidence import sections as records
from tunix_exp.evidence.kinds import pages as kinds
from tunix_exp.evidence.run_directory import RunDirectory
from tunix_exp.evidence.stages import Stages
from tunix_exp.report.curves import draw_curves
from tunix_exp.report.page.run import run_page
from tunix_exp.report.readme import readme
from tunix_exp.training.compiles import CompileCount


def record_figures(config: RunConfig, compiles: CompileCount, stages: Stages, evidence: RunDirectory) -> None:
    """The manifest has times, compilations and memory, and the curves are drawn where steps were taken."""
    held_by, peak_bytes = peak_memory()
    evidence.update(
        times_s=stages.times_s,
        compiles=records.Compiles(count=compiles.count, seconds=compiles.seconds),
        peak_memory_of=held_by,
        peak_memory_bytes=peak_bytes,
    )
    if evidence.is_kept and config.mode.trains and not evidence.manifest.took_no_step:
        draw_curves(evidence.root, evidence.path(kinds.CURVES.path))


def complete(stages: Stages, evidence: RunDirectory) -> None:
    """The pages are written, and the run is completed once its verifier has found nothing.

    Process 0 does that, when the others have nothing more to write.
    """
    if not evidence.is_kept:
        evidence.release()
    hosts.everyone("all is written", None)
    if not evidence.is_kept:
        return

    def pages() -> None:
        evidence.write_text(kinds.README.path, readme(evidence.root))
        evidence.write_text(kinds.REPORT.path, run_page(evidence.root))
        stages.current = "verify"

    evidence.complete(pages=pages)
    evidence.log.say(f"completed and verified: {evidence.root}")
