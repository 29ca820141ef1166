"""The continuous relaxation as published (ORTOS, later RENE)."""
