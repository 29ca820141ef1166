"""Corrections between the cut and the fine-tune, without labels."""
