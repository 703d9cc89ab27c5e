"""The words that all other rooms use: errors, heads, modes, metrics and names."""
