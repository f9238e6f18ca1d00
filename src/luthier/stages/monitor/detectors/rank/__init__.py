"""Ranks of a number among the reference's."""
