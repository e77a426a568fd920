"""Paths, and what guards the reading of files."""
