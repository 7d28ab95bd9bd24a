"""Ways to work through a plan's cells."""
