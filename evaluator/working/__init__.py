"""Doing the work: a supervisor without torch, and a worker process that holds the model."""
