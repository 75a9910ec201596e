"""What ``config show`` prints: the options of a command as they would be in force now."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from sidestep.evaluator.commands.app import program
from sidestep.evaluator.commands.build_settings import find_suite
from sidestep.evaluator.commands.printing.console import make_console
from sidestep.shared.commands.choices import Order
from sidestep.shared.commands.sources import PREFIX, Kind, Setting
from sidestep.shared.errors import ManifestError
from sidestep.shared.files import to_json
from sidestep.shared.logs import terminal_safe
from sidestep.shared.protocol.manifest import Manifest, read_manifest
from sidestep.shared.protocol.place import Place, find_place

# Where the manifest says what an option would, and what counts when no option does.
MANIFEST_FIELDS = {
    "max_new_tokens": ("decoding", "max_new_tokens"),
    "keep_reports": ("keep_reports",),
    "report_to": ("report_to",),
    "max_drop": ("gates", "max_drop"),
    "min_success_rate": ("gates", "min_success_rate"),
    "min_category_rate": ("gates", "min_category_rate"),
    "forbid_regression": ("gates", "forbidden_regressions"),
    "against": ("gates", "against"),
}

READ_ELSEWHERE = frozenset({"SIDESTEP_CACHE"})  # by make and the examples: where the demo's model is


def print_options(command: str, path: Path, more: Sequence[str], *, as_json: bool) -> None:
    """Read the options as ``command`` would, run nothing, and print each with its value and source.

    Raises ConfigError, and what the parser of the command line raises, where the command would.
    """
    program.app.parse_args([*command.split(), str(path), *more], exit_on_error=False, print_error=False)
    settings = [setting for setting in program.sources.settings.values() if setting.argument.show]
    given = {setting.key: setting.value for setting in settings}
    place = find_place(path, weights=given.get("weights_dir"), reports=given.get("reports_dir"))
    rows = [_row(setting, place, command) for setting in settings]
    files = [file.name for file in program.sources.files]
    if as_json:
        document = {"command": command, "path": str(path), "files": files, "options": rows}
        sys.stdout.write(to_json(document).decode())
        return
    table = Table("option", "value", "from", title=f"{command} {path}", title_justify="left")
    for column in table.columns:
        column.overflow = "fold"
    for row in rows:
        table.add_row(row["option"], _text(row["value"]), terminal_safe(f"{row['from']} {row['where']}".strip()))
    console = make_console()
    console.print(table, markup=False)
    console.print(f"files read: {', '.join(files) or 'none'}", highlight=False, markup=False, soft_wrap=True)
    if unread := _unread_variables(settings):
        text = f"environment variables that are not options of {command}: {', '.join(unread)}"
        console.print(text, highlight=False, markup=False, soft_wrap=True)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value in (None, (), [], {}) else terminal_safe(str(value))


def _row(setting: Setting, place: Place, command: str) -> dict[str, Any]:
    value, source, where = setting.value, str(setting.kind), setting.where
    if setting.kind is Kind.DEFAULT:
        manifest = _manifest(place)
        from_manifest = _manifest_value(setting.key, manifest) if manifest else None
        if manifest and from_manifest is not None:
            value, source, where = from_manifest, "manifest", str(manifest.path)
        elif value is None:
            value = _default_of(setting.key, place, manifest, command)
    return {"option": setting.argument.name, "value": value, "from": source, "where": where}


def _manifest(place: Place) -> Manifest | None:
    try:
        return read_manifest(place.expert.manifest) if place.expert else None
    except ManifestError:
        return None


def _manifest_value(key: str, manifest: Manifest) -> Any:
    """What the manifest says where the option is not given."""
    if key == "base_model":
        return manifest.base_model_name or None
    if key == "suite":
        return manifest.evaluation.get("suite")
    value: Any = manifest.evaluation
    for name in MANIFEST_FIELDS.get(key, ("",)):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _default_of(key: str, place: Place, manifest: Manifest | None, command: str) -> Any:
    """What counts where nobody says anything, for options whose default depends on the path or the command."""
    defaults = {
        "device": "auto",
        "order": (Order.OLDEST if command == "rerun" else Order.NEWEST).value,
        "suite": str(find_suite(None, place, manifest)),
        "weights_dir": str(place.weights.root),
        "reports_dir": str(place.reports.root),
    }
    return defaults.get(key)


def _unread_variables(settings: Sequence[Setting]) -> list[str]:
    read = {setting.where for setting in settings if setting.kind is Kind.ENVIRONMENT} | READ_ELSEWHERE
    return sorted(name for name in os.environ if name.startswith(PREFIX) and name not in read)
