"""Machine code for runs: a network's right-hand side is recorded as a graph and written out as loops."""
