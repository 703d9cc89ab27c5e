"""The embedded scorer: 32 probabilities for each text, from weights that the package carries."""
