"""A run again from its evidence alone. Imports no JAX before the replay's own environment is set."""
