"""`simulate` and what it needs around the steps."""
