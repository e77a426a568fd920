"""The recorded step as torch calls into memory that is used again."""
