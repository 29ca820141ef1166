"""The continuous relaxation as published (ORTOS, later RENE)."""

from .ortos import Ortos

__all__ = ["Ortos"]
