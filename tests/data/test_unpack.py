"""Archives: good ones come out whole, hostile and damaged ones leave nothing behind."""

import stat
import zipfile
from pathlib import Path

import pytest

from hsac.data import unpack as unpacking
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


def test_no_member_without_name(tmp_path):
    archive = make_zip(tmp_path / "a", "")
    with pytest.raises(InputError, match=r"a: found the member ''; allowed are paths that stay"):
        unpack(archive, tmp_path / "out")
    assert everything(tmp_path) == {"a"}


# Of a member's header in the archive and of its entry in the directory: where the field stands in
# each, and its value.
@pytest.mark.parametrize(
    ("places", "value", "found"),
    [
        ((6, 8), 1, "'set/good.txt', which needs a password"),
        ((8, 10), 97, "'set/good.txt', compressed by method 97"),
        ((4, 6), 255, "cannot be unpacked"),  # of a later version of the format
    ],
)
def test_unknown_forms_are_refused(places, value, found, tmp_path):
    archive = make_zip(tmp_path / "a", "set/other.txt")
    data = bytearray(archive.read_bytes())
    for begin, place in zip((b"PK\x03\x04", b"PK\x01\x02"), places, strict=True):
        at = data.index(begin) + place
        data[at : at + 2] = value.to_bytes(2, "little")
    archive.write_bytes(data)
    with pytest.raises(InputError, match=f"a: .*{found}"):
        unpack(archive, tmp_path / "out")
    assert everything(tmp_path) == {"a"}


def test_damaged_bytes_are_refused(tmp_path):
    """Each method's reader has exceptions of its own."""
    for method in unpacking.METHODS:
        archive = tmp_path / "a"
        with zipfile.ZipFile(archive, "w", method) as opened:
            opened.writestr("good.txt", bytes(range(256)))
        data = bytearray(archive.read_bytes())
        for at in range(55, 61):
            data[at] ^= 255
        archive.write_bytes(data)
        with pytest.raises(InputError, match="a: cannot be unpacked"):
            unpack(archive, tmp_path / "out")
        assert everything(tmp_path) == {"a"}


def test_empty_members_are_counted(tmp_path):
    """Many files take long to write, though the archive is small."""
    archive = tmp_path / "a"
    with zipfile.ZipFile(archive, "w") as opened:
        for number in range(unpacking.MEMBERS + 1):
            opened.writestr(f"{number}", "")
    with pytest.raises(InputError, match="a: found 100001 members; allowed are 100000"):
        unpack(archive, tmp_path / "out")
    assert everything(tmp_path) == {"a"}


def test_a_small_archive_unpacks_small(tmp_path, monkeypatch):
    monkeypatch.setattr(unpacking, "SIZE", 408)
    with pytest.raises(InputError, match="a: found 409 bytes unpacked; allowed are 408"):
        unpack(make_zip(tmp_path / "a", "set/other.txt"), tmp_path / "out")
    assert everything(tmp_path) == {"a"}
