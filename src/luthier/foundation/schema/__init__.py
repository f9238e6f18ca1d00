"""The nouns of the house as frozen pydantic models, and the protocols that plug-ins follow."""
