"""A sweep: its jobs, what they are compared by, and what they show together."""
