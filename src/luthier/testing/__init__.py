"""Public conformance checks that every plug-in, ours or a third party's, must pass. Read conformance.py first."""
