"""Stage 3: every number of the run, estimated before anything is loaded."""
