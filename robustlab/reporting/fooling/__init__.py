"""The page of one fooled picture."""
