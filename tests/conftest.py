"""The strict session: CPU, no rank promotion, no network."""

import os

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["JAX_NUMPY_RANK_PROMOTION"] = "raise"
