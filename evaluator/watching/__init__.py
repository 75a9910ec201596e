"""What is there to do: scanning, watching, ordering, claiming. Imports no torch."""
