"""What the three programs have in common on the command line: exit codes, options, where options come from, errors."""
