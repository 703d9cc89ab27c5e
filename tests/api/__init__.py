"""Tests of :mod:`phase7.api`."""
