"""Test cases: read from every format, checked by scorers, and named by a hash of all that decides."""
