"""One folder a deployment target."""
