"""How steps are executed: plain torch calls, calls that write into reused memory, or machine code."""
