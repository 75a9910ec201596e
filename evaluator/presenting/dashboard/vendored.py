"""Which foreign code the dashboard carries, where it came from, and whether it is unchanged.

    python -m sidestep.evaluator.presenting.dashboard.vendored

checks the files against vendor/vendor.json; ``--fetch`` fetches the pinned versions with `npm pack` first.

To take a newer version: change it in vendor.json, fetch, look at the difference, run the browser tests, commit.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from sidestep.evaluator.presenting.dashboard.page import VENDOR

RECORD = VENDOR / "vendor.json"


def read_record() -> dict[str, Any]:
    """``{"libraries": [{"name", "version", "licence", "files": {our name: {"from", "sha256"}}}]}``."""
    loaded: dict[str, Any] = json.loads(RECORD.read_text(encoding="utf-8"))
    return loaded


def find_mistakes() -> list[str]:
    """Files that are missing, changed, or not in the record."""
    files = {name: entry for library in read_record()["libraries"] for name, entry in library["files"].items()}
    wrong = [f"{name} is missing" for name in files if not (VENDOR / name).is_file()]
    for path in sorted(VENDOR.iterdir()):
        if path == RECORD:
            continue
        if path.name not in files:
            wrong.append(f"{path.name} is not in {RECORD.name}")
        elif hashlib.sha256(path.read_bytes()).hexdigest() != files[path.name]["sha256"]:
            wrong.append(f"{path.name} is not what {RECORD.name} says")
    return wrong


def fetch_libraries() -> None:
    """Fetch every library's pinned version, copy its files here and write their hashes down."""
    document = read_record()
    for library in document["libraries"]:
        with tempfile.TemporaryDirectory() as folder:
            name = f"{library['name']}@{library['version']}"
            subprocess.run(["npm", "pack", "--silent", name], cwd=folder, check=True, stdout=subprocess.DEVNULL)
            with tarfile.open(next(Path(folder).glob("*.tgz"))) as archive:
                archive.extractall(folder, filter="data")
            for ours, entry in library["files"].items():
                shutil.copyfile(Path(folder) / "package" / entry["from"], VENDOR / ours)
                entry["sha256"] = hashlib.sha256((VENDOR / ours).read_bytes()).hexdigest()
    RECORD.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    if sys.argv[1:] == ["--fetch"]:
        fetch_libraries()
    wrong = find_mistakes()
    for line in wrong:
        sys.stderr.write(f"{line}\n")
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main()
