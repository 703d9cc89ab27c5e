"""Prompts in every form of file: the same set from each, and one line about what is wrong in one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from phase7.experiment import prompt_tables
from phase7.experiment.prompts import load_prompts, paired
from phase7.vocabulary.errors import UserError

TEXTS = ("Say thanks, loudly.", 'Two "quoted" words', "Grüße")
TOPICS = ("b", "a", "c")
ROWS = [{"topic": topic, "text": text} for topic, text in zip(TOPICS, TEXTS, strict=True)]


def as_json(path: Path) -> None:
    path.write_text(json.dumps(list(TEXTS)), encoding="utf-8")


def as_lines(path: Path) -> None:
    path.write_text("\n".join(TEXTS) + "\n\n", encoding="utf-8")


def as_csv(path: Path) -> None:
    import csv

    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["topic", "text"])
        writer.writeheader()
        writer.writerows(ROWS)


def as_jsonl(path: Path) -> None:
    path.write_text("\n".join(map(json.dumps, ROWS)) + "\n", encoding="utf-8")


def as_parquet(path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)


def as_folder(path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    datasets.Dataset.from_list(ROWS).save_to_disk(str(path))


WRITERS = {
    "joy_prompts.json": as_json,
    "joy_prompts.txt": as_lines,
    "joy_prompts.csv": as_csv,
    "joy_prompts.jsonl": as_jsonl,
    "joy_prompts.parquet": as_parquet,
    "joy_prompts": as_folder,
}
TABLES = [name for name in WRITERS if not name.endswith((".json", ".txt"))]


@pytest.mark.parametrize("name", WRITERS)
def test_every_form_gives_the_same_prompts(name, tmp_path):
    WRITERS[name](tmp_path / name)
    options = {"column": "text", "ids": "topic"} if name in TABLES else {}
    found = load_prompts(tmp_path / name, **options)
    assert (found.name, found.prompts) == ("joy", TEXTS)
    assert found.scenarios == (TOPICS if name in TABLES else ())


@pytest.mark.parametrize("name", TABLES)
def test_a_table_needs_the_name_of_a_column_that_it_has(name, tmp_path):
    WRITERS[name](tmp_path / name)
    with pytest.raises(UserError, match=r"a table \(topic, text\) without the name"):
        load_prompts(tmp_path / name)
    for options in ({"column": "words"}, {"column": "text", "ids": "words"}):
        with pytest.raises(UserError, match="no column 'words' among topic, text"):
            load_prompts(tmp_path / name, **options)
    with pytest.raises(UserError, match="the scenario"):
        (tmp_path / "twice.csv").write_text("text,topic\na,1\nb,1\n")
        load_prompts(tmp_path / "twice.csv", column="text", ids="topic")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.json", b"[1]", "something other than a list of texts"),
        ("a.json", b'"text"', "a JSON document with str"),
        ("a.json", b'["a", "a"]', "the same prompt at index 0 and 1"),
        ("a.txt", b"\n \n", "an empty list"),
        ("a.txt", b"\xff\xfe\xfd", "UTF-8"),
        ("a.csv", b"", "an empty file"),
        ("a.csv", b"text\n", "an empty list"),
        ("a.csv", b"text,topic\na\n", "1 values in row 2, for 2 columns"),
        ("a.csv", b"text,text\na,b\n", "the column 'text' more than once"),
        ("a.csv", b'text\n"a\n', "a file that is not CSV"),
        ("a.csv", b"text\na\na\n", "the same prompt at index 0 and 1"),
        ("a.csv", b"text\n\xff\n", "UTF-8"),
        ("a.jsonl", b'{"text": "a"}\n{"text": \n', "what is not JSON in line 2"),
        ("a.jsonl", b'{"text": "a"}\n[1]\n', "a list in line 2, where an object belongs"),
        ("a.jsonl", b'{"text": "a"}\n{"word": "b"}\n', "other keys in line 2"),
        ("a.jsonl", b'{"text": 1}\n', "something other than texts"),
        ("a.parquet", b"PAR1 is not enough", "a file that is not Parquet"),
        ("no.csv", None, "a file that cannot be read"),
    ],
)  # fmt: skip
def test_a_malformed_file_is_refused_in_a_line(name, content, said, tmp_path):
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=said) as error:
        load_prompts(path, column="text")
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)


def test_a_folder_that_is_no_data_set_is_refused(tmp_path):
    pytest.importorskip("datasets")
    (tmp_path / "state.json").write_text("{}")
    with pytest.raises(UserError, match="a folder that datasets did not write"):
        load_prompts(tmp_path, column="text")


def test_a_missing_library_is_named(tmp_path, monkeypatch):
    import builtins

    genuine = builtins.__import__

    def without(name, *rest, **more):
        if name.partition(".")[0] in ("pyarrow", "datasets"):
            raise ImportError(name)
        return genuine(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    (tmp_path / "a.parquet").write_bytes(b"")
    (tmp_path / "state.json").write_text("{}")
    for path in (tmp_path / "a.parquet", tmp_path):
        with pytest.raises(UserError, match=r"pip install 'phase7\[prompts\]'"):
            load_prompts(path, column="text")


def written(path: Path, rows: str) -> Path:
    path.write_text("text,topic\n" + rows, encoding="utf-8")
    return path


def test_scenarios_pair_emotion_and_neutral_prompts(tmp_path):
    options = {"column": "text", "ids": "topic"}
    neutral = load_prompts(written(tmp_path / "n.csv", "one,1\ntwo,2\nthree,3\n"), **options)
    emotion = load_prompts(written(tmp_path / "e.csv", "C,3\nA,1\nB,2\n"), **options)
    assert paired(emotion, neutral).prompts == ("A", "B", "C")
    plain = load_prompts(tmp_path / "e.csv", column="text")
    assert paired(plain, load_prompts(tmp_path / "n.csv", column="text")) is plain
    short = load_prompts(written(tmp_path / "s.csv", "C,3\nA,1\n"), **options)
    for wrong, said in ((short, "a difference in 2"), (plain, "a difference in 1, 2, 3")):
        with pytest.raises(UserError, match=said):
            paired(wrong, neutral)


def test_names_of_files_are_told_from_emotions(tmp_path):
    (tmp_path / "mine" / "joy").mkdir(parents=True)
    assert prompt_tables.is_prompt_file("joy_prompts.csv", tmp_path)
    assert prompt_tables.is_prompt_file("mine/joy", tmp_path)
    assert not prompt_tables.is_prompt_file("joy", tmp_path)
    assert not prompt_tables.is_prompt_file("joy.v2", tmp_path)
