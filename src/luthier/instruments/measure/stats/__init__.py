"""Intervals, paired tests, power. Read paired.py first."""
