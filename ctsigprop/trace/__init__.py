"""The steps of a field, recorded as a graph."""
