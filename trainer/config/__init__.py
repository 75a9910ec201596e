"""What a training is told: the fields, what contradicts what, and the three shapes in which it is handed over."""
