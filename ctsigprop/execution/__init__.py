"""Who carries the steps out: plain torch calls, calls into memory of their own, or machine code."""
