"""Reports and outcomes on disk: their schema, older versions of it, and the one way to commit them."""
