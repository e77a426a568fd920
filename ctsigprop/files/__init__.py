"""Paths, and safe reading of files."""
