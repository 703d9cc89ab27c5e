"""``python -m phase7``."""

from phase7.cli import command

command()
