"""What the methods under study must beat: one searcher a file."""
