"""A loaded model, what was found out about it, and its faster arithmetic."""
