"""Forms of per-example gradients: what they look like, and what follows without them."""
