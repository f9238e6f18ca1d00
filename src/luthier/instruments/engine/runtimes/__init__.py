"""Generation: one folder a runtime, config.py (no torch) and runtime.py."""
