"""Test suites in the shapes that people have them in."""
