"""The multiple-choice knapsack, on plain arrays: NumPy and SciPy only."""
