"""Progress bars, and how notebooks display objects."""
