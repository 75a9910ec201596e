"""``python -m sidestep.trainer`` and the command ``sidestep-trainer``."""

from __future__ import annotations

from sidestep.shared.commands.extras import require_extras


def main() -> None:
    """Run the command, or say which extra to install."""
    require_extras("sidestep-trainer", "trainer")
    from sidestep.trainer.cli import main as run

    run()


if __name__ == "__main__":
    main()
