"""Stage 4: read loop.py first."""
