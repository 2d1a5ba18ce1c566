"""Pinned repositories of the Hugging Face Hub, as folders; no JAX here."""
