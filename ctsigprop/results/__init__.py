"""The results of a simulation, and their format on disk."""
