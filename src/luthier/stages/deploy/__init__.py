"""Stage 6: merge, certify, bundle, serve, ship. Not built yet: refused with E-REC-010."""
