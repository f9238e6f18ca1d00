"""Answers to numbers with error bars."""
