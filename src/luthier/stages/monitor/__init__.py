"""Stage 7: telemetry, drift, feedback, retuning. Not built yet: refused with E-REC-010."""
