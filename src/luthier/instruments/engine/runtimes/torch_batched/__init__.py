"""Batched generation in plain torch: see runtime.py."""
