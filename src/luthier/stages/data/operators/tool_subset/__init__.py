"""Show a row only the tools that it calls and some others."""
