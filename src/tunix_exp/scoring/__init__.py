"""From a model's output to its answer, from answers to scores: standard library only."""
