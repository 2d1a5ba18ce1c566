"""One experiment in stages: each takes values, returns what it made, and leaves its evidence."""
