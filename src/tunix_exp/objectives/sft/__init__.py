"""Supervised fine-tuning: the model learns to write the responses of the data."""
