"""What a simulation gives back, and its format on disk."""
