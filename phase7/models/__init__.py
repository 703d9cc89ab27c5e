"""Models: where their files come from, what identifies them, and how they are loaded.

`registry` knows the names, `files` finds or fetches a folder and fingerprints it (without torch),
`wheel` makes SmolLM2 from its PyPI wheel, `loading` puts a folder behind a `TransformerBridge`.
"""
