"""One file a remote service."""
