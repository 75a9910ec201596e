"""Other ways to evaluate a checkpoint, each a program of its own that may run in an environment of its own."""
