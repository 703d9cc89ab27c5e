"""Doing it: the pipeline, the executor of memo entries, workers, paths and records."""
