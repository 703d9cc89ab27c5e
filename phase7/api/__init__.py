"""What ``import phase7`` offers: models, patches, donors and texts, without files or commands.

The command line makes its profiles and prompts with the same functions.
"""
