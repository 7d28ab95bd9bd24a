"""The section of the page that says what a network is."""
