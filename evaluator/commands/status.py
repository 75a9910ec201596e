"""``sidestep-evaluator status``: what is pending, what is running, how every checkpoint ended."""

from __future__ import annotations

from sidestep.shared.commands.options import AsJson, ExpertPath, FolderOptions, SuiteOptions


def status(
    path: ExpertPath,
    /,
    *,
    as_json: AsJson = False,
    suite: SuiteOptions = SuiteOptions(),
    folders: FolderOptions = FolderOptions(),
) -> None:
    """Show what is pending, what is running, and how every checkpoint ended.

    What is pending depends on test cases and decoding: give the options that the evaluation is given.
    """
    from sidestep.evaluator.commands.printing.status import print_status

    print_status(path, suite, folders, as_json=as_json)
