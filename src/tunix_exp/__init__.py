"""Post-train small open language models in JAX; the run directory is the evidence."""

__version__ = "0.1.0"
