"""Every file format, folders, saved data sets and the hub, with the broken lines of each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import pytest

from sidestep.shared.errors import DatasetError
from sidestep.trainer.data.rows import UnusableRow
from sidestep.trainer.data.sources import Hub, open_source

ROWS = [{"instruction": "q1", "output": "a1"}, {"instruction": "q2", "output": "007"}]


def rows_of(path: Path | str, *, streaming: bool = False, **options: Any) -> list[Any]:
    return [row for _, row in open_source(str(path), **options).rows(streaming=streaming)]


def write(path: Path, rows: list[dict[str, Any]] = ROWS) -> Path:
    """The rows in the format of the suffix."""
    table = datasets.Dataset.from_list(rows)
    if path.suffix == ".csv":
        table.to_csv(str(path), index=False)
    elif path.suffix == ".parquet":
        table.to_parquet(str(path))
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows, indent=1))
    else:
        path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("suffix", ["jsonl", "json", "csv", "parquet"])
def test_formats(tmp_path: Path, suffix: str, streaming: bool) -> None:
    path = write(tmp_path / f"rows.{suffix}")
    if suffix == "json" and streaming:
        with pytest.raises(DatasetError, match="read as a whole"):
            rows_of(path, streaming=True)
    else:
        assert rows_of(path, streaming=streaming) == ROWS


@pytest.mark.parametrize("form", ["jsonl", "json", "csv", "parquet"])
def test_format_counts_where_the_suffix_does_not_tell(tmp_path: Path, form: str) -> None:
    path = write(tmp_path / f"rows.{form}").rename(tmp_path / "rows.data")
    assert rows_of(path, format_name=form) == ROWS
    with pytest.raises(DatasetError, match=r"unknown format .set format to one of json, jsonl, csv, parquet"):
        rows_of(path, format_name="weird")


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"data": ROWS, "version": 1}),
        json.dumps({"anything": ROWS}),
        "\n".join(map(json.dumps, ROWS)),
        "\ufeff" + json.dumps(ROWS),
    ],
)
def test_json_in_other_arrangements(tmp_path: Path, text: str) -> None:
    (tmp_path / "rows.json").write_text(text)
    assert rows_of(tmp_path / "rows.json") == ROWS


def test_a_json_file_with_one_row_is_that_row(tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_text(json.dumps(ROWS[0], indent=2))
    assert rows_of(tmp_path / "rows.json") == [ROWS[0]]


def test_a_broken_line_costs_one_row(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    deep = b"[" * 200_000
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}\n\n{"a": \n{"a": "\xff"}\n{"a": NaN}\n{"a": "\\ud800"}\n' + deep + b"\n[1]")
    found = list(open_source(str(path)).rows(streaming=False))
    assert [place for place, _ in found] == [f"line {number}" for number in (1, 3, 4, 5, 6, 7, 8)]
    reasons = [str(row) for _, row in found if isinstance(row, UnusableRow)]
    assert [reason.split(":")[0] for reason in reasons] == [
        "the line is not JSON", "the line is not in UTF-8", "it is nested too deeply"
    ]  # fmt: skip


def test_csv_cells_stay_texts_and_long_lines_are_said(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('instruction,output\n"a ""quoted"", one",NA\nq,007\nq,a,extra\nq\n')
    first, second, third, fourth = rows_of(path)
    assert first == {"instruction": 'a "quoted", one', "output": "NA"}
    assert second["output"] == "007"
    assert isinstance(third, UnusableRow)
    assert fourth["output"] is None


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("none.jsonl", None, "does not exist"),
        ("empty.jsonl", b"", "is empty"),
        ("rows.weird", b"x", "unknown format"),
        ("rows.json", b'[{"a": 1}', "not valid JSON"),
        ("rows.csv", b'a,b\n"x', "cannot be read as csv"),
        ("rows.csv", b"a\n\xff", "cannot be read as csv"),
        ("rows.parquet", b"PAR1 no", "cannot be read as parquet"),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, name: str, content: bytes | None, reason: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DatasetError, match=reason):
        rows_of(tmp_path / name)


def test_a_folder_of_files(tmp_path: Path) -> None:
    write(tmp_path / "b.csv", [{"instruction": "q3", "output": "a3"}])
    write(tmp_path / "a.jsonl")
    (tmp_path / "README.md").write_text("no data")
    assert [row["instruction"] for row in rows_of(tmp_path)] == ["q1", "q2", "q3"]
    assert [row["instruction"] for row in rows_of(f"{tmp_path}::b")] == ["q3"]
    with pytest.raises(DatasetError, match="no file named c"):
        rows_of(f"{tmp_path}::c")
    with pytest.raises(DatasetError, match="is a file and has no splits"):
        rows_of(f"{tmp_path / 'a.jsonl'}::train")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="does not hold any data"):
        rows_of(tmp_path / "empty")


def test_folders_that_datasets_saved(tmp_path: Path) -> None:
    data = datasets.Dataset.from_list(ROWS)
    data.save_to_disk(str(tmp_path / "one"))
    datasets.DatasetDict({"train": data, "other": data.select([0])}).save_to_disk(str(tmp_path / "several"))
    assert rows_of(tmp_path / "one") == ROWS
    assert rows_of(f"{tmp_path / 'several'}::other") == ROWS[:1]
    with pytest.raises(DatasetError, match=r"has no split none .it has train, other"):
        rows_of(f"{tmp_path / 'several'}::none")


def test_identity_is_that_of_the_content(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl")
    before = open_source(str(path)).identity()
    assert open_source(str(path)).identity() == before
    path.write_text(path.read_text().replace("q1", "q9"))
    assert open_source(str(path)).identity() != before


# There is no hub here: a folder of the same name stands in for it, loaded by the same code of datasets.
@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "someone" / "questions"
    folder.mkdir(parents=True)
    for config in ("small", "large"):
        for split in ("train", "validation"):
            rows = [{"instruction": f"{config} {split} {n}", "output": "a"} for n in range(4)]
            write(folder / f"{config}-{split}.jsonl", rows)
    (folder / "README.md").write_text(
        "---\nconfigs:\n"
        + "".join(
            f"- config_name: {config}\n  data_files:\n"
            + "".join(f"  - split: {split}\n    path: {config}-{split}.jsonl\n" for split in ("train", "validation"))
            for config in ("small", "large")
        )
        + "---\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    return folder


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(
    ("path", "first"),
    [
        ("someone/questions::train::small", "small train 0"),
        ("someone/questions::validation::large", "large validation 0"),
        ("someone/questions::::large", "large train 0"),
    ],
)
def test_hub_ids_name_split_and_config(hub: Path, path: str, first: str, streaming: bool) -> None:
    rows = rows_of(path, hub=True, streaming=streaming)
    assert rows[0]["instruction"] == first
    assert len(rows) == 4


def test_slices_of_a_split(hub: Path) -> None:
    assert len(rows_of("someone/questions::train[:2]::small", format_name="huggingface")) == 2


@pytest.mark.parametrize(
    ("path", "reason"),
    [("someone/questions::none::small", "none"), ("someone/questions::train::none", "none"), ("no/where", "no/where")],
)
def test_hub_data_that_is_not_there(hub: Path, path: str, reason: str) -> None:
    with pytest.raises(DatasetError, match=f"nor available from the hub.*{reason}"):
        rows_of(path, hub=True)


@pytest.mark.parametrize(
    ("path", "is_hub"),
    [
        ("someone/questions", True), ("wikitext::train::wikitext-2", True), ("a/b::train", True),
        ("./a/b", False), ("datasets/train.jsonl", False), ("a/b/c", False), ("plain", False),
    ],
)  # fmt: skip
def test_which_names_are_the_hubs(path: str, is_hub: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if is_hub:
        assert isinstance(open_source(path), Hub)
    else:
        with pytest.raises(DatasetError, match="does not exist"):
            open_source(path)
