"""Values drawn: a figure as PNG, a table in a terminal."""
