"""The equation written down: the steps of a field recorded as a graph."""
