"""Stage 7: telemetry, drift, feedback, retuning. Read ``stage`` first."""
