"""Test cases, requests, answers and results: the values that suite, engine and reports have in common."""
