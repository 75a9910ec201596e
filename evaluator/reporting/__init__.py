"""From finished evaluations to what is in the reports folder: committed reports, and the files derived from them."""
