"""Every option of every layer with its cost and error, and how to move among them."""
