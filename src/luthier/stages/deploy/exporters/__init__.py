"""One folder an export format."""
