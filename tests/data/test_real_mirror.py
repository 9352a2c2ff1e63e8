"""The mirror with real data: damage to it is caught, what is filled from it serves as well."""

import shutil
from pathlib import Path

import pytest

from hsac.data import catalogue, fetch, obtain
from hsac.data.mirror import fill
from hsac.errors import InputError


@pytest.fixture
def copied(mirror: Path, tmp_path: Path):
    """Copies a dataset's files, with or without their SHA256SUMS, and flips a byte of one."""

    def copy(name: str, damaged: str, sums: bool) -> Path:
        form = next(form for form in catalogue.entry(name).forms if obtain.holds(mirror, form))
        for file in form.files:
            target = tmp_path / "mirror" / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(mirror / file.path, target)
        if sums:
            shutil.copyfile(mirror / obtain.SUMS, tmp_path / "mirror" / obtain.SUMS)
        path = tmp_path / "mirror" / damaged
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        return tmp_path / "mirror"

    return copy


@pytest.mark.parametrize("sums", [True, False])
@pytest.mark.parametrize(
    ("name", "damaged"),
    [
        ("cora", "planetoid/Cora/raw/ind.cora.tx"),
        ("airport", "airport/airport.npz"),
        ("cifar10n", "cifar-n/cifar10n.npz"),
        pytest.param(
            "omniglot", "omniglot/data/background-00000-of-00001.parquet", marks=pytest.mark.slow
        ),
    ],
)
def test_flipped_byte_is_named(name: str, damaged: str, sums: bool, copied, tmp_path: Path) -> None:
    """A flipped byte is caught, and its file and dataset are named."""
    folder = copied(name, damaged, sums)
    with pytest.raises(InputError, match=damaged) as caught:
        fetch(name, tmp_path / "data", folder)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)
    assert (folder / damaged).exists()
    assert not (tmp_path / "data" / "raw" / name).exists()


def test_a_filled_mirror_serves_another_machine(mirror: Path, tmp_path: Path) -> None:
    names = ("cora", "airport", "cifar10n")
    for name in names:
        assert fill(tmp_path / "own", name, tmp_path / "one", mirror) > 0
        assert fill(tmp_path / "own", name, tmp_path / "one", mirror) == 0
    listed, upstream = obtain.read_sums(tmp_path / "own"), obtain.read_sums(mirror)
    assert {path: upstream[path] for path in listed} == listed
    for name in names:
        fetch(name, tmp_path / "two", tmp_path / "own")
    assert not (tmp_path / "two" / "downloads").exists()
