"""One picture fooled: read, attacked through the network's own preprocessing, written, read back."""
