"""Figures as values: what is drawn, apart from how."""
