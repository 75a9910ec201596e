"""What the commands print. Reads reports, writes nothing but standard output."""
