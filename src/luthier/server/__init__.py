"""OpenAI-compatible HTTP and the console. Not built yet."""
