"""The equation: how activities flow and jump and how weights change. Nothing here runs it."""
