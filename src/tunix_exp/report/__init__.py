"""Pictures and pages, drawn from the files of a run directory alone."""
