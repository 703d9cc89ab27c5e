"""Where models come from: names, folders, fingerprints and downloads. No torch at import.

`registry` knows the names, `files` finds or fetches a folder and fingerprints it, `wheel` makes
SmolLM2 from its PyPI wheel.
"""
