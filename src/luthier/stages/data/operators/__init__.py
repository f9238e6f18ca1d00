"""Data steps: one folder an operator, config.py and operator.py."""
