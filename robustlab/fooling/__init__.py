"""One picture fooled: attacked through the network's own preprocessing, written, read back."""
