"""Handing checkpoints over to the evaluator, and starting one beside any training."""
