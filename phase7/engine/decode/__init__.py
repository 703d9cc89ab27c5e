"""Generation: rows that share layers, the KV cache they read, and the tokens drawn."""
