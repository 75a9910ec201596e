"""What is written about an evaluation, and how evaluations are compared. Imports no torch."""
