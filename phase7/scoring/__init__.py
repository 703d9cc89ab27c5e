"""Scorers: from texts to metrics.

`base` is the interface and scores every distinct text once; `keywords`, `vader` and `hub` are scorers;
`choose` turns names into scorers. A scorer that cannot be loaded is an error, never a substitute.
"""
