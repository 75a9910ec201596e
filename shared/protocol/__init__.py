"""What trainer and evaluator agree on: names and places, the marker, the outbox, outcomes, pace and presence."""
