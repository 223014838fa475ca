"""The binary event log: one append-only, checksummed file a process (docs/log-format.md)."""
