"""What reports say about each other: statistics, verdicts, gates, advice. Pure functions, no files."""
