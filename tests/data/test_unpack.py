"""Archives: good ones come out whole, hostile and damaged ones leave nothing behind."""

import stat
import zipfile
from pathlib import Path

import pytest

from hsac.data.unpack import unpack
from hsac.errors import InputError


def make_zip(path: Path, name: str, mode: int = stat.S_IFREG | 0o644) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("set/good.txt", "good" * 100)
        info = zipfile.ZipInfo(name)
        info.external_attr = mode << 16
        archive.writestr(info, "elsewhere")
    return path


def everything(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def test_a_good_archive_comes_out_whole(tmp_path):
    archive = make_zip(tmp_path / "a", "set/deep/other.txt")
    unpack(archive, tmp_path / "out")
    assert everything(tmp_path / "out") == {"set", "set/good.txt", "set/deep", "set/deep/other.txt"}
    with pytest.raises(InputError, match="allowed is a new folder"):
        unpack(archive, tmp_path / "out")


@pytest.mark.parametrize(
    "name", ["../out.txt", "set/../../out.txt", "/tmp/out.txt", "..\\out.txt", "C:\\out.txt"]
)
def test_no_path_escapes(name, tmp_path):
    (tmp_path / "in").mkdir()
    archive = make_zip(tmp_path / "in" / "a", name)
    with pytest.raises(InputError, match="paths that stay in the folder"):
        unpack(archive, tmp_path / "in" / "out")
    assert everything(tmp_path) == {"in", "in/a"}


@pytest.mark.parametrize("kind", [stat.S_IFLNK | 0o777, stat.S_IFIFO | 0o644, stat.S_IFCHR | 0o644])
def test_links_and_devices_are_refused(kind, tmp_path):
    archive = make_zip(tmp_path / "a", "set/link", kind)
    with pytest.raises(InputError, match=r"'set/link', a link or device"):
        unpack(archive, tmp_path / "out")
    assert everything(tmp_path) == {"a"}


def test_a_cut_archive_leaves_nothing(tmp_path):
    archive = make_zip(tmp_path / "a", "set/other.txt")
    archive.write_bytes(archive.read_bytes()[:-60])
    with pytest.raises(InputError, match="cannot be unpacked"):
        unpack(archive, tmp_path / "out")
    assert everything(tmp_path) == {"a"}
