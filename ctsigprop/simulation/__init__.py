"""`simulate`, and what a simulation needs apart from the steps."""
