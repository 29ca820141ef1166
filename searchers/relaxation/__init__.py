"""The continuous relaxation under a budget."""

from .relaxation import Relaxation
from .relaxation_outputs import RelaxationOutputs

__all__ = ["Relaxation", "RelaxationOutputs"]
