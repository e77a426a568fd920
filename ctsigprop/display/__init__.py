"""Progress, and what a notebook shows of an object."""
