"""The methods of torchdiffeq and SciPy on the whole state as one vector."""
