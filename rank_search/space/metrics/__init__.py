"""What a plan costs: one metric a file, each with its columns, its whole network and its measurement."""
