"""The embedded scorer: weights, inference and training.

What enters: texts. What leaves: 32 probabilities per text. `scorer` scores, `weights` reads and writes
the files, `train` makes them anew, `command` is the command line. Nothing is imported here: `--help`
passes through.
"""
