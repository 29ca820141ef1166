"""Which layers a network has, their geometry and weights, and the metric of their errors."""
