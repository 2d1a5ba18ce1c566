"""What the run will compute, planned from shapes and compiled, before it reads a weight."""
