"""BATUDE: ranks learned in one training run, under the budget after every Z-step."""

from .batude import Batude, BatudeGradient

__all__ = ["Batude", "BatudeGradient"]
