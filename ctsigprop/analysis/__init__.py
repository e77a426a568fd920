"""What one asks of a network or a solution."""
