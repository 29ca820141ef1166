"""How tables and figures look: in a terminal, as PNG."""
