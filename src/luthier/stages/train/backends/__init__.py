"""Whose loop runs: one folder a backend."""
