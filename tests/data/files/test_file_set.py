from pathlib import Path

from sentiment.data.files.file_set import describe_files
from tests.helpers import write_csv


def test_paths_are_without_symbolic_links(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    path = write_csv(tmp_path / "a" / "reviews.csv", [("a", "1")])
    (tmp_path / "folder").symlink_to(tmp_path / "a")
    (tmp_path / "file.csv").symlink_to(path)
    links = [tmp_path / "folder" / "reviews.csv", tmp_path / "file.csv"]
    assert describe_files(links) == describe_files([path]) * 2
