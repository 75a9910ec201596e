"""Training data: data sets of many shapes to tokens, with every unusable row accounted for."""
