"""Measurements on a network or a solution."""
