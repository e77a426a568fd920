"""What a run records, and where it writes it."""
