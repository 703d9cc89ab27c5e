"""Every architecture that transformers and the bridge share, run and compared; writes docs/models.md."""
