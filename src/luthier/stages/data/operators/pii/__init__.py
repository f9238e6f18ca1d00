"""Find personal data and secrets; redact, drop or flag."""
