"""Flow and jumps: on a grid, or from spike to spike."""
