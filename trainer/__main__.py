"""``python -m sidestep.trainer`` and the command ``sidestep-trainer``."""

from __future__ import annotations

from sidestep.trainer.cli import main

if __name__ == "__main__":
    main()
