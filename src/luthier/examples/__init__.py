"""What the first hour needs: probes and templates."""
