"""One report's files in its folder, plain or compressed. Compressed ones are read, refreshed and kept like any other.

A report is compressed by writing the compressed file first and removing the plain one after; where a fault left both,
the plain one counts.
"""

from __future__ import annotations

import gzip
import io
import zlib
from pathlib import Path

from sidestep.evaluator.results.migration import parse_report
from sidestep.evaluator.results.report import InvalidReport, Report, outcome_of
from sidestep.shared.files import TooLarge, fsync_folder, read_bounded, replace_file, write_file
from sidestep.shared.protocol.layout import COMPRESSED_SUFFIX, OUTCOME_NAME, REPORT_MARKDOWN_NAME, REPORT_NAME

MAX_REPORT_BYTES = 1 << 30
_NAMES = (REPORT_NAME, REPORT_MARKDOWN_NAME)


def read_report(folder: Path) -> Report:
    """The report in a folder. Raises FileNotFoundError when there is none, OSError or InvalidReport."""
    try:
        content = read_bounded(folder / REPORT_NAME, MAX_REPORT_BYTES)
    except FileNotFoundError:
        content = _decompressed(read_bounded(folder / (REPORT_NAME + COMPRESSED_SUFFIX), MAX_REPORT_BYTES))
    return parse_report(content)


def write_new(folder: Path, report: Report, markdown: str) -> None:
    """All files of a new report, durably, into a folder that is not visible yet."""
    write_file(folder / REPORT_NAME, report.to_bytes())
    write_file(folder / REPORT_MARKDOWN_NAME, _encoded(markdown))
    write_file(folder / OUTCOME_NAME, outcome_of(report).to_bytes())
    fsync_folder(folder)


def refresh(folder: Path, report: Report, markdown: str) -> None:
    """Replace a report by what it is now, each file atomically, compressed where it was."""
    for name, content in zip(_NAMES, (report.to_bytes(), _encoded(markdown)), strict=True):
        compressed = folder / (name + COMPRESSED_SUFFIX)
        if compressed.exists() and not (folder / name).exists():
            replace_file(compressed, _compressed(content))
        else:
            replace_file(folder / name, content)


def compress(folder: Path) -> bool:
    """Compress a report's two large files; False when there was nothing to do. What is in them stays the same."""
    done = False
    for name in _NAMES:
        try:
            content = read_bounded(folder / name, MAX_REPORT_BYTES)
        except FileNotFoundError:
            continue
        replace_file(folder / (name + COMPRESSED_SUFFIX), _compressed(content))
        (folder / name).unlink()
        done = True
    return done


def _compressed(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)


def _decompressed(content: bytes) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
            plain = file.read(MAX_REPORT_BYTES + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InvalidReport(f"document: {error}") from error
    if len(plain) > MAX_REPORT_BYTES:
        raise TooLarge(f"is larger than {MAX_REPORT_BYTES} bytes when decompressed")
    return plain


def _encoded(markdown: str) -> bytes:
    return markdown.encode("utf-8", "replace")
