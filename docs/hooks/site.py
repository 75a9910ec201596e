"""What the documentation site needs beside docs/: the documents at the top level, links out of docs/, and diagrams.

MkDocs calls the functions whose names begin with ``on_`` (mkdocs.yml). In the repository every link leads to a file of
the repository; here the same links lead to pages, to copies of source files, or, for folders, nowhere.
"""

from __future__ import annotations

import hashlib
import logging
import os
import posixpath
import re
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

log = logging.getLogger("mkdocs.hooks.site")

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "project/changelog.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "SECURITY.md": "project/security.md",
}
SOURCES = {page: source for source, page in PAGES.items()}
COPIES = "source"  # where copies of linked source files stand in the site

# Draws the diagrams in the browser. Without npm, or without a network, pages with diagrams fetch it when they are read.
MERMAID = "mermaid@11.16.0"
MERMAID_SHA256 = "74d7c46dabca328c2294733910a8aa1ed0c37451776e8d5295da38a2b758fb9b"
MERMAID_URI = "assets/javascripts/mermaid.min.js"

_FENCE = re.compile(r"(^ *```.*?^ *```)", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[([^\[\]]*)\]\(([^()\s#]+)(#[^()\s]*)?\)")


def on_files(files: Any, config: Any) -> Any:
    """Add the documents at the top level, the source files that documents link to, and the program for diagrams."""
    documents = {file.src_uri: f"docs/{file.src_uri}" for file in files.documentation_pages()} | SOURCES
    for page, source in SOURCES.items():
        text = (REPOSITORY / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=text))
    for page, source in documents.items():
        for target in _targets(source):
            uri = site_uri(target)
            if uri and uri.startswith(f"{COPIES}/") and uri not in files.src_uris:
                log.debug("%s links to %s", page, target)
                files.append(File.generated(config, uri, abs_src_path=str(REPOSITORY / target)))
    if (mermaid := _mermaid()) is not None:
        files.append(File.generated(config, MERMAID_URI, abs_src_path=str(mermaid)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Let the links of a document lead to where things are in the site."""
    uri = page.file.src_uri
    return rewrite_links(markdown, SOURCES.get(uri, f"docs/{uri}"), uri)


def on_post_page(output: str, page: Any, config: Any) -> str:
    """Load the program for diagrams on the pages that have some."""
    if 'class="mermaid"' not in output or _mermaid() is None:
        return output
    script = posixpath.relpath(MERMAID_URI, posixpath.dirname(page.file.dest_uri) or ".")
    first = output.index("<script", output.index("<body"))
    return output[:first] + f'<script src="{script}"></script>' + output[first:]


def rewrite_links(markdown: str, source: str, page: str) -> str:
    """``markdown`` of the document ``source`` (a path in the repository), as it reads at ``page`` of the site. Pure."""

    def rewrite(found: re.Match[str]) -> str:
        text, target, anchor = found[1], found[2], found[3] or ""
        if re.match(r"[a-z]+:", target):
            return found[0]
        uri = site_uri(_resolve(source, target))
        if uri is None:
            return text
        return f"[{text}]({posixpath.relpath(uri, posixpath.dirname(page) or '.')}{anchor})"

    parts = _FENCE.split(markdown)
    return "".join(part if part.lstrip().startswith("```") else _LINK.sub(rewrite, part) for part in parts)


def site_uri(path: str) -> str | None:
    """Where a file of the repository stands in the site; None for a folder. Raises FileNotFoundError."""
    if not (REPOSITORY / path).exists():
        raise FileNotFoundError(f"a document links to {path}, which does not exist")
    if (REPOSITORY / path).is_dir():
        return None
    if path in PAGES:
        return PAGES[path]
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return f"{COPIES}/{path}.txt"  # as text, so that a browser shows it


def _targets(source: str) -> set[str]:
    text = "".join(_FENCE.split((REPOSITORY / source).read_text(encoding="utf-8"))[::2])
    links = [found[2] for found in _LINK.finditer(text)]
    return {_resolve(source, link) for link in links if not re.match(r"[a-z]+:", link)}


def _resolve(source: str, target: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(source), target))


def _mermaid() -> Path | None:
    """The program for diagrams, fetched once by npm; None where that is impossible."""
    cached = Path(os.environ.get("SIDESTEP_CACHE", REPOSITORY / ".cache")) / "mermaid.min.js"
    if not cached.is_file() or hashlib.sha256(cached.read_bytes()).hexdigest() != MERMAID_SHA256:
        try:
            content = _fetch_mermaid()
        except (OSError, subprocess.SubprocessError, tarfile.TarError, KeyError) as error:
            log.info("%s is not fetched, browsers will do so: %s", MERMAID, error)
            return None
        if hashlib.sha256(content).hexdigest() != MERMAID_SHA256:
            log.warning("%s is not what it was when this site was made", MERMAID)
            return None
        cached.parent.mkdir(parents=True, exist_ok=True)
        cached.write_bytes(content)
    return cached


def _fetch_mermaid() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["npm", "pack", "--silent", MERMAID], cwd=folder, check=True, capture_output=True, timeout=120)
        [archive] = Path(folder).glob("*.tgz")
        with tarfile.open(archive) as packed:
            member = packed.extractfile("package/dist/mermaid.min.js")
            return member.read() if member else b""
