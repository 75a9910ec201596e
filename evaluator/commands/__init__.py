"""The commands of ``sidestep-evaluator``: what users say, and what they are shown."""
