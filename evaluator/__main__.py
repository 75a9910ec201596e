"""``python -m sidestep.evaluator`` and the command ``sidestep-evaluator``."""

from __future__ import annotations

from sidestep.shared.commands.extras import require_extras


def main() -> None:
    """Run the command, or say which extra to install."""
    require_extras("sidestep-evaluator", "evaluator")
    from sidestep.evaluator.commands.app import main as run

    run()


if __name__ == "__main__":
    main()
