"""The dashboard: one self-contained page about all checkpoints, made from the reports (docs/dashboard.md)."""
