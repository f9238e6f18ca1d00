"""OpenAI-compatible HTTP over whatever answers (`schema.serving.ChatRuntime`); read ``app.py`` first."""
