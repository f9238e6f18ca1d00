"""The ground floor: no domain but its nouns. Imports nothing of the house above it."""
