"""The catalogue: one attack, or one family, a file, written with the lab's public names only."""
