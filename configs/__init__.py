"""Configurations installed with the package: ``rank-search bench quickstart`` finds one by name."""
