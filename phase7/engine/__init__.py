"""Where the model runs.

`model` puts a folder behind a `TransformerBridge`, `patch` says what is transplanted and writes it,
`decode` generates. They import from each other in this order only.
"""
