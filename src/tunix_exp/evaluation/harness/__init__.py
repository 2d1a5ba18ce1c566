"""The lm-evaluation-harness asks, our models answer. An extra: what lies here is imported when asked."""
