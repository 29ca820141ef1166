"""The continuous relaxation under a budget."""
