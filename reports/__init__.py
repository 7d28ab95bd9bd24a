"""How results are told: page template, style and script."""
