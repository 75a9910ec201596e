"""Environments outside the checkout, for tests of what gets installed: copies of the sources, wheels, empty venvs.

An environment borrows its packages from the one that runs the tests by a .pth file, so it costs a second and no
network. Of this checkout, and of an editable installation of it, nothing is borrowed: neither its path nor its finders
(a .pth file within a borrowed folder is not read).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
TIMEOUT_SECONDS = 600


def source_files() -> list[Path]:
    """Every file and link of the project that git tracks or would track, relative to the repository."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    paths = sorted({Path(name) for name in listed.split("\0") if name})
    return [path for path in paths if os.path.lexists(REPOSITORY / path)]


def copy_sources(folder: Path) -> Path:
    """A checkout as a clone would have it: links stay links, and nothing is there that git does not track."""
    for path in source_files():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(REPOSITORY / path, target, follow_symlinks=False)
    return folder


def run_checked(command: Sequence[str], cwd: Path, **environment: str) -> str:
    """Standard output and error of a command that must succeed; it knows nothing of this checkout."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PIP_", "SIDESTEP_"))}
    done = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, check=False, timeout=TIMEOUT_SECONDS,
        env=kept | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"} | environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def pip(*arguments: str, cwd: Path, python: Path | None = None) -> str:
    """Run this environment's pip, for another environment where one is given; no index is asked."""
    other = ["--python", str(python)] if python else []
    return run_checked([sys.executable, "-m", "pip", *other, "--disable-pip-version-check", *arguments], cwd)


def build_wheel(source: Path, folder: Path) -> Path:
    """The wheel of a folder with sources, or of a source distribution; built with this environment's setuptools."""
    pip("wheel", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", str(folder), str(source), cwd=folder)
    [wheel] = folder.glob("*.whl")
    return wheel


def build_sdist(checkout: Path, folder: Path) -> Path:
    """The source distribution of a checkout."""
    code = "import sys; from setuptools.build_meta import build_sdist; build_sdist(sys.argv[1])"
    run_checked([sys.executable, "-c", code, str(folder)], checkout)
    [archive] = folder.glob("*.tar.gz")
    return archive


class Environment:
    """A virtual environment in a folder of its own. ``site_packages``: where its own packages are."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.python = root / "bin" / "python"
        self.site_packages = root / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"

    @classmethod
    def create(cls, root: Path) -> Environment:
        """An environment in ``root`` that borrows every package of this one, but for this project."""
        venv.create(root, with_pip=False, symlinks=True)
        made = cls(root)
        borrowed = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
        (made.site_packages / "borrowed.pth").write_text("".join(f"{path}\n" for path in borrowed))
        return made

    def install(self, *what: str, cwd: Path) -> None:
        """Install something that lies on this disk, without its dependencies."""
        pip("install", "--no-deps", "--no-index", "--no-build-isolation", *what, cwd=cwd, python=self.python)

    def install_from_index(self, requirement: str) -> str | None:
        """Install one package in place of the borrowed one, without its dependencies; why not, where that fails."""
        arguments = ("-m", "pip", "--python", str(self.python), "--disable-pip-version-check", "install", "--no-deps")
        done = subprocess.run(
            [sys.executable, *arguments, requirement],
            capture_output=True, text=True, check=False, timeout=TIMEOUT_SECONDS,
        )  # fmt: skip
        return None if done.returncode == 0 else (done.stderr.strip().splitlines() or ["no reason given"])[-1]

    def command(self, name: str) -> str:
        return str(self.root / "bin" / name)

    def run_code(self, code: str, cwd: Path, **environment: str) -> str:
        return run_checked([str(self.python), "-c", code], cwd, **environment)
