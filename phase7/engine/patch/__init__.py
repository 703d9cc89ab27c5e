"""Captures, donors, and the hooks that write them into running rows."""
