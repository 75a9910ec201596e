"""What a program's exit code says. Defined here and nowhere else; scripts and CI depend on the numbers."""

from __future__ import annotations

EXIT_FAILURE = 1
EXIT_USAGE = 2  # the command line was wrong; nothing was begun
EXIT_REGRESSION = 3  # a regression was found, or a gate refused a checkpoint; only when asked for
