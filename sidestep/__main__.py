"""``python -m sidestep`` and the command ``sidestep``."""

from __future__ import annotations

from sidestep.shared.commands.extras import require_extras


def main() -> None:
    """Run the command, or say which extra to install."""
    require_extras("sidestep", "trainer", "evaluator")
    from sidestep.shared.launch.command import main as run

    run()


if __name__ == "__main__":
    main()
