"""The strict session: CPU, no rank promotion, no network."""

import os

os.environ["JAX_PLATFORMS"] = "cpu"
# Toy programs run once or twice: compiling them is nearly all of the time.
os.environ["XLA_FLAGS"] = "--xla_backend_optimization_level=0"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["JAX_NUMPY_RANK_PROMOTION"] = "raise"
