"""What a run records, and where to."""
