"""What a layer becomes: the contract of a decomposition, the forms, the algebra and the modules they share."""
