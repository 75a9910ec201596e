"""``python -m sidestep.evaluator`` and the command ``sidestep-evaluator``."""

from __future__ import annotations

from sidestep.evaluator.commands.app import main

if __name__ == "__main__":
    main()
