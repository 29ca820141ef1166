"""BATUDE: ranks learned in one training run, under the budget after every Z-step."""
