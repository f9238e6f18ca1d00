"""Answering live: requests come and go, and those under way are computed together. Read runtime.py first."""
