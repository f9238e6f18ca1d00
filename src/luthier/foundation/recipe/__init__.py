"""Load, check and explain recipes: origins, all errors at once, JSON Schema."""
