"""The section of the page that shows what a network looks at."""
