"""Metrics: one file each, both halves in it."""
