"""Other ways to evaluate a checkpoint, programs of their own that may run in environments of their own."""
