"""The recorded step as torch calls that write into reused memory."""
