"""The seven stages, in order; none imports another."""
