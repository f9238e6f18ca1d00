"""Stage 6: export, certify, seal. Read ``stage`` first."""
