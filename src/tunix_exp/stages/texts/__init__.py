"""Training sets and held-out items as the model sees them."""
