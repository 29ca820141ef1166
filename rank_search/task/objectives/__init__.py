"""What is good: one objective a file, each with its loss, its measures and its distance to the dense network."""
