"""What goes in: the data sets and how they become batches."""
