"""Tables as values."""
