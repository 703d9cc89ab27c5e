"""Speed, measured against named alternatives in one run: `python -m tests.programs.benchmarks`."""
