"""Exporter: what training made, in PEFT's layout, for the base that it stands on."""
