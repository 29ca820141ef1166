"""What a run leaves on disk: one declared schema; written and read here."""
