"""Which weights move: one folder a method, config.py (no torch) and method.py."""
