"""The sources of real data: each container against the other, the mirror, and damage."""

import errno
import io
import json
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hsac.data import catalogue, fetch
from hsac.data.sources import (
    _images,
    airport,
    cifar_fs,
    cifarn,
    cub,
    disease_lp,
    hub,
    mini_imagenet,
    omniglot,
)
from hsac.data.store import (
    array_sha256,
    content_sha256,
    counts_of,
    load_arrays,
    load_graph,
    raw_folder,
)
from hsac.errors import InputError

QUICK = ("cora", "citeseer", "pubmed", "airport", "disease_lp", "cifar10n", "cifar100n")
LARGE = ("cifar10", "cifar100", "cifar_fs", "fashion_mnist", "omniglot")
MIRRORED = [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in LARGE)]
Fetched = Callable[[str], dict[str, np.ndarray]]


@pytest.fixture(scope="module")
def fetched(real_data: Callable[[str], Path]) -> Fetched:
    def arrays(name: str) -> dict[str, np.ndarray]:
        root = real_data(name)
        manifest = json.loads((raw_folder(name, root) / "manifest.json").read_text())
        assert manifest["matches_catalogue"] is True
        return load_arrays(name, root)[0]

    return arrays


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def write_parquet(
    path: Path, images: list[np.ndarray], words: list[str] | None = None, **columns: list
) -> None:
    import datasets as hf

    path.parent.mkdir(parents=True, exist_ok=True)
    pictures = [Image.fromarray(pixels) for pixels in images]
    kinds: dict[str, object] = {}
    for name, values in columns.items():
        kinds[name] = hf.Value("string" if isinstance(values[0], str) else "int64")
    if words:
        kinds["label"] = hf.ClassLabel(names=words)
    features = hf.Features({"image": hf.Image(), **kinds})
    hf.Dataset.from_dict({"image": pictures, **columns}, features=features).to_parquet(path)


# the mirror's data


@pytest.mark.parametrize("name", MIRRORED)
def test_mirrored_data_have_the_published_counts(name: str, fetched: Fetched) -> None:
    """Mirrored data are verified and have the published counts."""
    entry = catalogue.entry(name)
    arrays = fetched(name)
    assert entry.sha256 == content_sha256(arrays)
    assert counts_of(entry.kind, arrays) == entry.counts
    assert entry.arrays


@pytest.mark.parametrize(("name", "classes"), [("cora", 7), ("citeseer", 6), ("pubmed", 3)])
def test_citation_graphs_keep_their_public_split(name: str, classes: int, fetched: Fetched) -> None:
    """The public split of a citation graph is kept."""
    arrays = fetched(name)
    assert [int((arrays["split"] == part).sum()) for part in range(3)] == [20 * classes, 500, 1000]
    assert set(np.bincount(arrays["y"][arrays["split"] == 0])) == {20}
    assert len(arrays["classes"]) == classes
    start, end = arrays["edge"]
    assert (start < end).all()


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        # sizes of the classes by name, as the sets' first papers and pages give them
        ("cora", {"neural networks": 818, "theory": 351, "case based": 298, "rule learning": 180}),
        (
            "citeseer",
            {
                "databases": 701,
                "information retrieval": 668,
                "agents": 596,
                "machine learning": 590,
            },
        ),
        ("pubmed", {"diabetes, experimental": 4103}),
    ],
)
def test_class_names_fit_the_published_sizes(name: str, sizes: dict, fetched: Fetched) -> None:
    """The class names of citation graphs fit the published sizes."""
    arrays = fetched(name)
    found = dict(zip(arrays["classes"].tolist(), np.bincount(arrays["y"]).tolist(), strict=True))
    assert sizes.items() <= found.items()


def test_graph_reaches_torch_with_its_split(mirror: Path, tmp_path: Path) -> None:
    """A real graph reaches torch with its split and the names of its classes."""
    fetch("cora", tmp_path, mirror)
    graph = load_graph("cora", tmp_path)
    assert graph.edge_index.shape == (2, 10556)
    assert graph.is_undirected()
    assert (graph.split == 2).sum() == 1000
    assert graph.classes[3] == "neural networks"


def test_changed_pickle_is_never_opened(mirror: Path, tmp_path: Path) -> None:
    """A changed byte in a pickle is caught before the file is opened."""
    own = tmp_path / "mirror" / "planetoid" / "Cora" / "raw"
    own.mkdir(parents=True)
    for path in (mirror / "planetoid" / "Cora" / "raw").iterdir():
        shutil.copyfile(path, own / path.name)
    damaged = own / "ind.cora.graph"
    data = bytearray(damaged.read_bytes())
    data[1000] ^= 1
    damaged.write_bytes(data)
    with pytest.raises(InputError, match=r"ind\.cora\.graph"):
        fetch("cora", tmp_path, tmp_path / "mirror")


def test_every_pickle_has_its_hash() -> None:
    """Every pickle has its hash in the catalogue."""
    for name in ("cora", "citeseer", "pubmed"):
        (form,) = catalogue.entry(name).forms
        assert len(form.files) == 8
        assert all(file.sha256 for file in form.files)


def test_human_labels_are_in_cifar10s_order(fetched: Fetched) -> None:
    """Human labels come with the labels of CIFAR-10, in its order."""
    clean = fetched("cifar10n")["clean_label"].astype(np.int64)
    assert array_sha256(clean) == catalogue.entry("cifar10").arrays["train/label"]


@pytest.mark.slow
def test_human_labels_agree_with_cifar10(fetched: Fetched) -> None:
    """Human labels agree with CIFAR-10 row by row."""
    images = fetched("cifar10")
    np.testing.assert_array_equal(
        fetched("cifar10n")["clean_label"], images["label"][images["split"] == 0]
    )


@pytest.mark.parametrize(
    ("name", "column", "percent"),
    [
        ("cifar10n", "aggre_label", 9.01),
        ("cifar10n", "random_label1", 17.23),
        ("cifar10n", "random_label2", 18.12),
        ("cifar10n", "random_label3", 17.64),
        ("cifar10n", "worse_label", 40.21),
        ("cifar100n", "noisy_label", 40.20),
    ],
)
def test_people_err_as_often_as_published(
    name: str, column: str, percent: float, fetched: Fetched
) -> None:
    labels = fetched(name)
    assert round(100 * float((labels[column] != labels["clean_label"]).mean()), 2) == percent


@pytest.mark.slow
def test_omniglot_parts_share_no_character(fetched: Fetched) -> None:
    """Omniglot's parts share no character, and each character has twenty drawings."""
    arrays = fetched("omniglot")
    pairs = np.unique(np.stack([arrays["label"], arrays["split"]]), axis=1)
    assert pairs.shape[1] == 1623
    assert np.bincount(pairs[1]).tolist() == [1028, 172, 423]
    assert set(np.bincount(arrays["label"])) == {20}
    assert arrays["image"].mean() < 64  # bright strokes on black
    assert arrays["image"].max() == 255


@pytest.mark.slow
def test_omniglot_archives_give_the_catalogues_arrays(mirror: Path, tmp_path: Path) -> None:
    """Omniglot archives of the mirror's pictures give the catalogue's arrays."""
    import pyarrow.parquet as pq

    for half in omniglot.HALVES:
        path = mirror / "omniglot" / "data" / f"{half}-00000-of-00001.parquet"
        rows = pq.read_table(path).to_pylist()
        with zipfile.ZipFile(tmp_path / f"images_{half}.zip", "w") as archive:
            for row in rows:
                name = f"images_{half}/{row['character']}/{row['image']['path']}"
                archive.writestr(name, row["image"]["bytes"])
    shutil.copytree(
        mirror / "fewshot_splits" / "omniglot_vinyals",
        tmp_path / "lists",
        copy_function=shutil.copyfile,
    )
    arrays, decoded = omniglot.build_archives(tmp_path, ".", "lists")
    entry = catalogue.entry("omniglot")
    assert content_sha256(arrays) == entry.sha256
    assert {name: array_sha256(array) for name, array in decoded.items()} == entry.arrays


# Omniglot's two containers, small


@pytest.fixture
def characters(tmp_path: Path) -> Path:
    """Three alphabets with two characters each, drawn by two, as archives and as parquet files."""
    lists: dict[str, dict] = {
        name: {half: {} for half in omniglot.HALVES} for name in ("train", "val", "test")
    }
    parts = {
        "Beta": ("background", "train"),
        "Alpha_(x)": ("background", "val"),
        "Aleph": ("evaluation", "test"),
    }
    seed = 0
    for half in omniglot.HALVES:
        alphabets = sorted(a for a, (where, _) in parts.items() if where == half)
        rows: dict[str, list] = {"alphabet": [], "character": [], "drawer": []}
        images: list[np.ndarray] = []
        with zipfile.ZipFile(tmp_path / f"images_{half}.zip", "w") as archive:
            archive.writestr(f"images_{half}/", b"")
            archive.writestr(f"__MACOSX/images_{half}/._x.png", b"no picture")
            for alphabet in alphabets:
                for character in ("character01", "character02"):
                    for drawer in (1, 2):
                        seed += 1
                        ink = Image.fromarray(
                            np.where(noise(seed, 105, 105) < 40, 0, 255).astype(np.uint8)
                        ).convert("1")
                        data = io.BytesIO()
                        ink.save(data, "png")
                        archive.writestr(
                            f"images_{half}/{alphabet}/{character}/{seed:04}_{drawer:02}.png",
                            data.getvalue(),
                        )
                        images.append(np.asarray(ink))
                        rows["alphabet"].append(sorted(parts).index(alphabet))
                        rows["character"].append(f"{alphabet}/{character}")
                        rows["drawer"].append(drawer)
                lists[parts[alphabet][1]][half][alphabet] = ["character01", "character02"]
        write_parquet(tmp_path / "data" / f"{half}-00000-of-00001.parquet", images, **rows)
    for name, content in lists.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    return tmp_path


def test_omniglots_containers_give_the_same(characters: Path) -> None:
    """Omniglot is the same from archives and from parquet files."""
    archives, read = omniglot.build_archives(characters, ".", ".")
    parquet, _ = omniglot.build_parquet(characters, "data", ".")
    for name in archives:
        np.testing.assert_array_equal(archives[name], parquet[name])
    assert archives["classes"].tolist()[:2] == ["Aleph/character01", "Aleph/character02"]
    names = archives["classes"][archives["label"]].tolist()
    parts = dict(zip(names, archives["split"].tolist(), strict=True))
    of_alphabet = {name.split("/")[0]: part for name, part in parts.items()}
    assert of_alphabet == {"Aleph": 2, "Alpha_(x)": 1, "Beta": 0}
    assert read["background/image"].shape == (8, 105, 105)
    assert set(np.unique(read["background/image"])) == {0, 255}
    np.testing.assert_array_equal(
        archives["image"][:8], omniglot.shrink(255 - read["background/image"])
    )
    assert read["evaluation/alphabet"].tolist() == [2] * 4


def test_omniglot_refuses_damage(characters: Path) -> None:
    """Omniglot refuses damaged archives and lists that do not fit."""
    path = characters / "images_evaluation.zip"
    whole = path.read_bytes()
    path.write_bytes(whole[:-200])
    with pytest.raises(InputError, match=r"images_evaluation\.zip: cannot be unpacked"):
        omniglot.build_archives(characters, ".", ".")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images_evaluation/../../escape/character01/0001_01.png", b"")
    with pytest.raises(InputError, match=r"images_evaluation\.zip: found the member '.*escape"):
        omniglot.build_archives(characters, ".", ".")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", b"")
    with pytest.raises(InputError, match="found no images_evaluation/ALPHABET"):
        omniglot.build_archives(characters, ".", ".")
    path.write_bytes(whole)
    (characters / "test.json").write_text('{"evaluation": {"Aleph": ["character01"]}}')
    with pytest.raises(InputError, match="class 'Aleph/character02' is in no list"):
        omniglot.build_archives(characters, ".", ".")
    (characters / "test.json").write_text(
        '{"evaluation": {"Aleph": ["character01", "character09"]}}'
    )
    with pytest.raises(InputError, match="class 'Aleph/character09', which the images do not have"):
        omniglot.build_archives(characters, ".", ".")
    (characters / "test.json").write_text('{"evaluation": {"Beta": ["character01"]}}')
    with pytest.raises(InputError, match="class 'Beta/character01' twice"):
        omniglot.build_archives(characters, ".", ".")


def slow_shrink(image: np.ndarray) -> np.ndarray:
    """Each pixel repeated 4 x 4, mean of 15 x 15, rounded half up, in whole numbers."""
    fine = np.repeat(np.repeat(image.astype(object), 4, 0), 4, 1)
    blocks = fine.reshape(28, 15, 28, 15).sum(axis=(1, 3))
    return np.array([[(2 * int(total) + 225) // 450 for total in row] for row in blocks], np.uint8)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([2, 3, 256]), st.integers(1, 3))
def test_shrinking_averages_repeated_pixels(seed: int, levels: int, count: int) -> None:
    """Shrinking is the mean of repeated pixels."""
    images = np.linspace(0, 255, levels).astype(np.uint8)[
        noise(seed, count, 105, 105) % np.uint16(levels)
    ]
    np.testing.assert_array_equal(
        omniglot.shrink(images), np.stack([slow_shrink(image) for image in images])
    )


def test_shrinking_keeps_constants() -> None:
    """Shrinking keeps every constant and rounds half up."""
    flat = np.broadcast_to(np.arange(256, dtype=np.uint8)[:, None, None], (256, 105, 105))
    np.testing.assert_array_equal(omniglot.shrink(flat)[:, 0, 0], np.arange(256))
    one = np.zeros((1, 105, 105), np.uint8)
    one[0, 0, :2] = (225 // 16 // 2, 0)
    assert omniglot.shrink(one)[0, 0, 0] == 0  # 16 * 7 = 112 of 225, just under a half
    one[0, 0, 0], one[0, 3, 3] = 7, 1  # 16 * 7 + 9 > 112.5
    assert omniglot.shrink(one)[0, 0, 0] == 1


# parquet in the hub's layout


@pytest.fixture
def coloured(tmp_path: Path) -> Path:
    """Eight classes in two shards of train and one of test, some pictures grey."""
    words = [f"class {i}" for i in range(8)]
    for part, shards, seed in (("train", 2, 1), ("test", 1, 5)):
        for shard in range(shards):
            shapes = [(6, 6, 3) if i % 3 else (6, 6) for i in range(8)]
            images = [noise(seed + shard, *shape) for shape in shapes]
            path = tmp_path / "own" / "set" / f"{part}-0000{shard}-of-0000{shards}-abc.parquet"
            write_parquet(path, images, words, label=list(range(8)))
    return tmp_path


def test_hub_parts_lie_below_one_another(coloured: Path) -> None:
    arrays, decoded = hub.build(coloured, "own/set", "image", "label")
    assert arrays["image"].shape == (24, 6, 6, 3)
    assert arrays["split"].tolist() == [0] * 16 + [2] * 8
    assert arrays["label"].tolist() == list(range(8)) * 3
    assert arrays["classes"].tolist() == [f"class {i}" for i in range(8)]
    np.testing.assert_array_equal(arrays["image"][9], noise(2, 6, 6, 3))
    np.testing.assert_array_equal(arrays["image"][16], np.repeat(noise(5, 6, 6)[..., None], 3, 2))
    sizes = {name: len(array) for name, array in decoded.items()}
    train, test = {"train/image": 16, "train/label": 16}, {"test/image": 8, "test/label": 8}
    assert sizes == train | test
    grey, _ = hub.build(coloured, "own/set", "image", "label", "L", {"test": "test"})
    assert grey["image"].shape == (8, 6, 6)
    np.testing.assert_array_equal(grey["image"][0], noise(5, 6, 6))


def test_bad_hub_files_are_named(coloured: Path) -> None:
    """Hub files that are missing or wrong are named."""
    folder = coloured / "own" / "set"
    with pytest.raises(InputError, match=r"found no valid-\*\.parquet"):
        hub.build(coloured, "own/set", "image", "label", parts={"train": "train", "valid": "test"})
    with pytest.raises(InputError, match=r"test-00000.*found columns image, label; img is needed"):
        hub.build(coloured, "own/set", "img", "label", parts={"test": "test"})
    (folder / "train-00001-of-00002-abc.parquet").unlink()
    with pytest.raises(InputError, match="found 1 files of train; its names say 2"):
        hub.build(coloured, "own/set", "image", "label")
    path = folder / "test-00000-of-00001-abc.parquet"
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(InputError, match=r"test-00000.*cannot be read as parquet"):
        hub.build(coloured, "own/set", "image", "label", parts={"test": "test"})
    write_parquet(path, [noise(1, 6, 6), noise(2, 7, 6)], ["a", "b"], label=[0, 1])
    with pytest.raises(InputError, match=r"test-00000.*found images of"):
        hub.build(coloured, "own/set", "image", "label", parts={"test": "test"})


def test_birds_are_split_by_class(coloured: Path) -> None:
    """Birds are split by class and resized as a whole."""
    arrays = cub.build(coloured, "own/set", side=4)
    assert arrays["image"].shape == (24, 4, 4, 3)
    part = dict(zip(arrays["label"].tolist(), arrays["split"].tolist(), strict=True))
    assert part == {0: 0, 1: 1, 2: 0, 3: 2, 4: 0, 5: 1, 6: 0, 7: 2}


def test_cifar_fs_follows_its_lists(tmp_path: Path) -> None:
    """CIFAR-FS pools the parts under its lists."""
    words = ["apple", "bear", "cra"]  # the hub's spelling of crab
    import datasets as hf

    features = hf.Features(
        {
            "img": hf.Image(),
            "fine_label": hf.ClassLabel(names=words),
            "coarse_label": hf.Value("int64"),
        }
    )
    for part, rows in (("train", 5), ("test", 3)):
        pictures = [Image.fromarray(noise(i, 32, 32, 3)) for i in range(rows)]
        columns = {
            "img": pictures,
            "fine_label": [i % 3 for i in range(rows)],
            "coarse_label": [0] * rows,
        }
        hf.Dataset.from_dict(columns, features=features).to_parquet(
            tmp_path / f"{part}-00000-of-00001.parquet"
        )
    for name, listed in (
        ("train", [["x", "crab"]]),
        ("val", [["x", "apple"]]),
        ("test", [["y", "bear"]]),
    ):
        (tmp_path / f"{name}.json").write_text(json.dumps(listed))
    arrays, decoded = cifar_fs.build(tmp_path, ".", ".")
    assert arrays["label"].tolist() == [0, 1, 2, 0, 1, 0, 1, 2]
    assert arrays["split"].tolist() == [1, 2, 0, 1, 2, 1, 2, 0]
    assert arrays["classes"].tolist() == ["apple", "bear", "crab"]
    assert len(decoded["train/img"]) == 5
    (tmp_path / "val.json").write_text('["apple"]')
    with pytest.raises(InputError, match=r"val\.json: found no list of \[superclass, class\]"):
        cifar_fs.build(tmp_path, ".", ".")


# a folder the user supplies


@pytest.fixture
def mini(tmp_path: Path) -> Path:
    (tmp_path / "mini" / "images").mkdir(parents=True)
    for name, label in (("train", "n03"), ("val", "n01"), ("test", "n02")):
        lines = ["filename,label"]
        for i in range(2):
            Image.fromarray(noise(i, 10, 12, 3)).save(
                tmp_path / "mini" / "images" / f"{label}{i}.png"
            )
            lines.append(f"{label}{i}.png,{label}")
        (tmp_path / "mini" / f"{name}.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_mini_imagenet_follows_its_lists(mini: Path) -> None:
    arrays = mini_imagenet.build(mini, "mini", side=8)
    assert arrays["image"].shape == (6, 8, 8, 3)
    assert arrays["label"].tolist() == [2, 2, 0, 0, 1, 1]
    assert arrays["split"].tolist() == [0, 0, 1, 1, 2, 2]
    assert arrays["classes"].tolist() == ["n01", "n02", "n03"]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("list", r"val\.csv is missing; `hsac data info mini_imagenet` says what to put there"),
        ("image", r"n030\.png is missing; `hsac data info mini_imagenet` says"),
        ("broken", r"n030\.png: cannot be read as an image"),
        ("columns", r"val\.csv: cannot be read as a list with the columns filename and label"),
        ("twice", "found class n03 in two lists"),
        ("outside", r"found file name '\.\./n03\.png'"),
    ],
)
def test_mini_imagenet_names_what_is_wrong(damage: str, words: str, mini: Path) -> None:
    listed, image = mini / "mini" / "val.csv", mini / "mini" / "images" / "n030.png"
    if damage == "list":
        listed.unlink()
    elif damage == "image":
        image.unlink()
    elif damage == "broken":
        image.write_bytes(b"no image")
    else:
        content = {"columns": "a,b\n1,2\n", "twice": "filename,label\nx.png,n03\n"}
        listed.write_text(content.get(damage, "filename,label\n../n03.png,n01\n"))
    with pytest.raises(InputError, match=words) as caught:
        mini_imagenet.build(mini, "mini", side=8)
    assert "\n" not in str(caught.value)


# pictures of more than 8 bits

DEEP = np.arange(0, 65536, 65535 / 99).round().astype(np.uint16).reshape(10, 10)


def encoded(picture: Image.Image, kind: str) -> bytes:
    data = io.BytesIO()
    picture.save(data, kind)
    return data.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "PPM", "TIFF"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_deep_grey_is_scaled(kind: str, mode: str, tmp_path: Path) -> None:
    """Grey of 16 bits is scaled to 8, from black to white, and not cut at 255."""
    import datasets as hf

    rows = [{"bytes": encoded(Image.fromarray(DEEP), kind), "path": None}] * 2
    features = hf.Features({"image": hf.Image()})
    hf.Dataset.from_dict({"image": rows}, features=features).to_parquet(tmp_path / "a.parquet")
    read = _images.read_table([tmp_path / "a.parquet"], "image", mode).image[1]
    expected = np.rint(DEEP / 257)
    np.testing.assert_array_equal(read if mode == "L" else read[:, :, 2], expected)


def test_deep_pictures_of_a_folder(mini: Path) -> None:
    image = mini / "mini" / "images" / "n030.png"
    Image.fromarray(np.full((9, 9), 127 * 257, np.uint16)).save(image)
    assert (mini_imagenet.build(mini, "mini", side=8)["image"][0] == 127).all()
    image.write_bytes(encoded(Image.fromarray(np.zeros((9, 9), np.float32)), "TIFF"))
    words = r"n030\.png: found a picture of mode F \(32 bits\); allowed are 8 or 16 bits a channel"
    with pytest.raises(InputError, match=words):
        mini_imagenet.build(mini, "mini", side=8)


def test_deep_drawing_keeps_its_ink(tmp_path: Path) -> None:
    path = tmp_path / "0001_01.png"
    Image.fromarray(np.full((105, 105), 100 * 257, np.uint16)).save(path)
    assert (omniglot._pixels(path) == 100).all()


def test_full_machine_is_not_the_file(mini: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without room for a temporary file the fault is not taken for one of the data."""

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(_images.tempfile, "TemporaryDirectory", full)
    monkeypatch.setattr(_images.pq, "ParquetFile", MagicMock())
    monkeypatch.setattr(Image, "open", full)
    with pytest.raises(OSError, match="No space left"):
        _images.read_table([mini / "a.parquet"], "image", "L")
    with pytest.raises(OSError, match="No space left"):
        mini_imagenet.build(mini, "mini")
    with pytest.raises(OSError, match="No space left"):
        omniglot._pixels(mini / "0001_01.png")


# graphs and labels, small


def test_airport_from_a_small_file(tmp_path: Path) -> None:
    """Airport is read from a file made by hand, and never without an array or with a pickle."""
    edges = np.array([[0, 1, 1, 2, 2], [1, 0, 2, 1, 2]])
    content = {
        "edge_index": edges,
        "x": np.ones((3, 4)),
        "y": np.array([0, 3, 1]),
        "label_raw": np.ones(3),
    }
    np.savez(tmp_path / "airport.npz", **content, node_id=np.arange(3))
    arrays, decoded = airport.build(tmp_path, "airport.npz")
    assert arrays["edge"].tolist() == [[0, 1], [1, 2]]  # the loop at 2 is left out
    assert arrays["x"].dtype == np.float32
    assert len(arrays["classes"]) == 4
    assert set(decoded) == {*content, "node_id"}
    np.savez(tmp_path / "airport.npz", **content)
    with pytest.raises(InputError, match="node_id is needed"):
        airport.build(tmp_path, "airport.npz")
    np.savez(tmp_path / "airport.npz", **content, node_id=np.array([{}], dtype=object))
    with pytest.raises(InputError, match="without pickle"):
        airport.build(tmp_path, "airport.npz")


def test_disease_lps_containers_give_the_same(mirror: Path, tmp_path: Path) -> None:
    """The disease tree is the same from upstream's files and from an .npz."""
    from scipy import sparse

    with np.load(mirror / "disease" / "disease_lp.npz", allow_pickle=False) as stored:
        tree, x, y = stored["parent_child"], stored["x"], stored["y"]
    np.savetxt(tmp_path / "disease_lp.edges.csv", tree.T, fmt="%d", delimiter=",")
    sparse.save_npz(tmp_path / "disease_lp.feats.npz", sparse.csr_matrix(x))
    np.save(tmp_path / "disease_lp.labels.npy", y)
    arrays, decoded = disease_lp.build_upstream(tmp_path, ".")
    entry = catalogue.entry("disease_lp")
    assert content_sha256(arrays) == entry.sha256
    assert {name: array_sha256(array) for name, array in decoded.items()} == entry.arrays


def test_disease_lp_names_bad_files(tmp_path: Path) -> None:
    """The disease tree names the file that cannot be read."""
    from scipy import sparse

    (tmp_path / "disease_lp.edges.csv").write_text("0,1\n0,2\n")
    sparse.save_npz(tmp_path / "disease_lp.feats.npz", sparse.csr_matrix(np.eye(3)))
    np.save(tmp_path / "disease_lp.labels.npy", np.array([1, 0, 1]))
    arrays, _ = disease_lp.build_upstream(tmp_path, ".")
    assert arrays["edge"].tolist() == [[0, 0], [1, 2]]
    np.save(tmp_path / "disease_lp.labels.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match=r"labels\.npy: cannot be read"):
        disease_lp.build_upstream(tmp_path, ".")


class Harmful:
    """An object whose pickle runs code when it is opened."""

    def __reduce__(self) -> tuple:
        """Return what the pickle runs."""
        return (exec, ("raise SystemExit('ran')",))


def test_human_labels_open_no_pickle(
    tmp_path: Path,
) -> None:
    """Human labels are the same from upstream and .npz, and nothing else is opened."""
    import torch

    columns = {
        name: noise(seed, 50) % 10
        for seed, name in enumerate(("clean_label", "worse_label", "other"))
    }
    np.savez(tmp_path / "labels.npz", **columns)
    torch.save(
        {name: column.astype(np.int64) for name, column in columns.items()}, tmp_path / "labels.pt"
    )
    chosen = ["clean_label", "worse_label"]
    one = cifarn.build_npz(tmp_path, "labels.npz", chosen)
    two = cifarn.build_upstream(tmp_path, "labels.pt", chosen)
    for arrays in (*one, *two):
        assert sorted(arrays) == chosen
        assert all(array.dtype == np.uint8 for array in arrays.values())
    assert content_sha256(one[0]) == content_sha256(two[0])
    with pytest.raises(InputError, match=r"labels\.pt: third is not in it"):
        cifarn.build_upstream(tmp_path, "labels.pt", [*chosen, "third"])
    torch.save({"clean_label": Harmful()}, tmp_path / "labels.pt")
    with pytest.raises(InputError, match=r"labels\.pt: cannot be read as plain arrays"):
        cifarn.build_upstream(tmp_path, "labels.pt", chosen)
    np.savez(tmp_path / "labels.npz", clean_label=np.full(50, -1), worse_label=columns["other"])
    with pytest.raises(InputError, match="clean_label: found int64"):
        cifarn.build_npz(tmp_path, "labels.npz", chosen)


# the catalogue's promises


def test_unknown_hash_is_not_verified(coloured: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real path of a set without a recorded hash, on a small stand-in of its files."""
    from hsac.data import store

    entry = catalogue.entry("cub")
    assert entry.sha256 is None
    form = replace(
        entry.forms[0], options={"data": "own/set", "side": 6}, files=entry.forms[0].files[:1]
    )
    monkeypatch.setattr(store, "entry", lambda name: replace(entry, forms=(form,)))
    monkeypatch.setattr(store.obtain, "obtain", lambda *_: (form, coloured))
    manifest = json.loads((fetch("cub", coloured / "data") / "manifest.json").read_text())
    assert manifest["matches_catalogue"] is None
    assert manifest["counts"]["channels"] == 3
