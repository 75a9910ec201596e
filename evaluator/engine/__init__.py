"""The engine: a resident base model that becomes one checkpoint after another. Only the worker imports its modules."""
