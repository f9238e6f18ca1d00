"""Graders: one file each."""
