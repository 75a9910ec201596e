"""``python -m evaluator`` and the command ``sidestep-evaluator``."""

from __future__ import annotations

from evaluator.cli import main

if __name__ == "__main__":
    main()
