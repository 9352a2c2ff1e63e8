"""`hsac data`: list, verify, info, mirror, with one dataset that has a file and one without."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from toy_source import PATH, npz, toy, upstream

from hsac import cli
from hsac.data import catalogue, obtain, store

GOOD = npz(upstream())


@pytest.fixture
def data(served, tmp_path, monkeypatch) -> Path:
    """A data folder, in a folder without configuration; the toy is served at an address."""
    served.files["/toy"] = GOOD
    entries = {"toy": toy(f"{served.url}/toy"), "disease": catalogue.entry("disease")}
    monkeypatch.setattr(catalogue, "_all", lambda: entries)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HSAC_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def said(capsys, *arguments: str) -> list[str]:
    status = cli.main(["data", *arguments])
    out, error = capsys.readouterr()
    return [str(status), *(out + error).splitlines()]


def test_list_says_where_each_dataset_is(data, tmp_path, capsys, monkeypatch):
    def states() -> dict[str, str]:
        _, head, *lines = said(capsys, "list")
        start, end = head.index("state"), head.index("licence")
        return {line.split()[0]: " ".join(line[start:end].split()) for line in lines}

    assert states() == {"disease": "can be made -", "toy": "can be fetched -"}
    cli.main(["data", "mirror", str(tmp_path / "mirror"), "toy"])
    capsys.readouterr()
    assert states()["toy"] == "downloaded -"
    monkeypatch.setenv("HSAC_MIRROR", str(tmp_path / "mirror"))
    assert states()["toy"] == "in the mirror -"
    assert said(capsys, "fetch", "toy", "disease")[0] == "0"
    assert states() == {"disease": "here yes", "toy": "here no hash known"}
    monkeypatch.setattr(catalogue, "_all", lambda: {"toy": toy(by_hand="Ask.")})
    monkeypatch.delenv("HSAC_MIRROR")
    for folder in ("downloads", "raw"):
        (data / folder).rename(data / f"{folder}.away")
    assert states() == {"toy": "by hand -"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (None, "cannot be read"),
        ([], "is no manifest"),
        ({"files": "x"}, "is no manifest"),
        ({"files": {"arrays.npz": 1}}, "is no manifest"),
        ({"files": {}}, "is no manifest"),
        ({"matches_catalogue": 3}, "is no manifest"),
    ],
)
def test_damaged_manifest_hides_no_other(change, words, data, capsys):
    """It is listed as damaged and the others as they are, and the advice helps."""
    cli.main(["data", "fetch", "toy", "disease"])
    capsys.readouterr()
    path = store.raw_folder("toy", data) / "manifest.json"
    good = path.read_bytes()
    if change is None:
        path.write_bytes(good[:40])
    else:
        path.write_text(json.dumps(json.loads(good) | change if change else change))
    status, _, disease, listed, line = said(capsys, "list")
    assert status == "0"
    assert " here " in disease
    assert " damaged " in listed
    assert line.startswith(f"toy is damaged, `hsac data fetch toy` makes it again: {path} {words}")
    status, *lines = said(capsys, "info", "toy")
    assert status == "0"
    assert f"{path} {words}" in " ".join(" ".join(lines).split())
    status, *lines = said(capsys, "verify")
    assert status == "1"
    assert any(line.startswith(f"toy: differs: {path} {words}") for line in lines)
    assert said(capsys, "fetch", "toy")[0] == "0"
    assert path.read_bytes() == good


@pytest.mark.parametrize("kind", ["images", "graph", "labels"])
def test_size_need_not_be_stated(kind, data, capsys, monkeypatch):
    """A plugin's author may not know the counts yet."""
    entry = replace(toy(), kind=kind, counts={})
    monkeypatch.setattr(catalogue, "_all", lambda: {"toy": entry})
    assert " not stated " in said(capsys, "list")[-1]
    assert "size        not stated" in said(capsys, "info", "toy")


def test_info_tells_everything(data, served, capsys):
    text = "\n".join(said(capsys, "info", "toy"))
    entry = catalogue.entry("toy")
    for words in (
        PATH,
        f"{served.url}/toy",
        *entry.arrays.values(),
        "can be fetched",
        "12 images, 4 x 4",
    ):
        assert words in text


def test_verify_finds_what_differs(data, capsys, tmp_path):
    assert said(capsys, "verify") == ["0"]
    assert said(capsys, "verify", "toy")[1].startswith("hsac: dataset toy: nothing of it is here")
    cli.main(["data", "fetch", "toy", "disease"])
    capsys.readouterr()
    status, disease, line = said(capsys, "verify")
    assert status == "0"
    assert disease.startswith("disease: as catalogued")
    assert "not verified" in line
    path = store.raw_folder("disease", data) / "arrays.npz"
    bad = bytearray(path.read_bytes())
    bad[len(bad) // 2] ^= 1
    path.write_bytes(bad)
    status, line = said(capsys, "verify", "disease")
    assert status == "1"
    assert "disease: differs" in line
    assert str(path) in line


def test_verify_reads_the_mirrors_files_again(data, capsys, tmp_path, monkeypatch):
    mirror = tmp_path / "mirror"
    cli.main(["data", "mirror", str(mirror), "toy"])
    monkeypatch.setenv("HSAC_MIRROR", str(mirror))
    capsys.readouterr()
    # a download has no SHA256SUMS beside it
    (data / "downloads" / PATH).unlink()
    words = "toy: the files are as recorded, and nothing is built of them"
    assert said(capsys, "verify", "toy") == ["0", f"{words} (files in {mirror})"]
    sums = (mirror / "SHA256SUMS").rename(mirror / "elsewhere")
    status, line = said(capsys, "verify", "toy")
    assert status == "0"
    assert f"no hash is recorded of {mirror / PATH}" in line
    sums.rename(mirror / "SHA256SUMS")
    (mirror / PATH).write_bytes(GOOD[:-1])
    status, line = said(capsys, "verify", "toy")
    assert status == "1"
    assert str(mirror / PATH) in line


def test_a_mirror_goes_round(data, served, capsys, tmp_path, monkeypatch):
    status, *lines = said(capsys, "mirror", str(tmp_path / "one"))
    assert (status, lines) == ("0", ["disease: made without a mirror", "toy: 1 files copied"])
    assert (tmp_path / "one" / PATH).read_bytes() == GOOD
    assert list(obtain.read_sums(tmp_path / "one")) == [PATH]
    monkeypatch.setenv("HSAC_MIRROR", str(tmp_path / "one"))
    monkeypatch.setenv("HSAC_DATA", str(tmp_path / "elsewhere"))
    served.files.clear()
    assert said(capsys, "mirror", str(tmp_path / "two"), "toy") == ["0", "toy: 1 files copied"]
    assert said(capsys, "mirror", str(tmp_path / "two"), "toy") == ["0", "toy: 0 files copied"]
    one, two = (tmp_path / name / "SHA256SUMS" for name in ("one", "two"))
    assert two.read_bytes() == one.read_bytes()
    monkeypatch.setenv("HSAC_MIRROR", str(tmp_path / "two"))
    assert said(capsys, "fetch", "toy")[0] == "0"


def test_a_mirror_takes_no_damaged_file(data, served, capsys, tmp_path):
    served.files["/toy"] = npz(upstream(1))
    status, *lines = said(capsys, "mirror", str(tmp_path / "one"))
    assert status == "1"
    assert "toy: left out: dataset toy: train/image decode to another content" in lines[-1]
    assert not (tmp_path / "one" / PATH).exists()
    served.files.clear()
    assert said(capsys, "mirror", str(tmp_path / "one"), "toy")[0] == "2"


def test_variable_overrides_the_configured_mirror(data, capsys, tmp_path, monkeypatch):
    """The configuration's mirror is used, and the variable wins."""
    cli.main(["data", "mirror", str(tmp_path / "mirror"), "toy"])
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "config.yaml").write_text("mirror: mirror\n")
    capsys.readouterr()
    assert "in the mirror" in said(capsys, "list")[-1]
    monkeypatch.setenv("HSAC_MIRROR", "")
    assert "downloaded" in said(capsys, "list")[-1]
    monkeypatch.setenv("HSAC_MIRROR", "nowhere")
    allowed = "found 'nowhere'; allowed is a folder that holds a mirror"
    assert said(capsys, "list") == ["2", f"hsac: HSAC_MIRROR: {allowed}"]
    monkeypatch.delenv("HSAC_MIRROR")
    (tmp_path / "config" / "config.yaml").write_text("mirror: nowhere\n")
    assert said(capsys, "fetch", "toy") == [
        "2",
        "hsac: mirror: found 'nowhere'; allowed is a folder that holds a mirror",
    ]
    (tmp_path / "config" / "config.yaml").write_text("mirror: 3\n")
    assert said(capsys, "list")[1].endswith(
        "config.yaml: mirror: found 3; allowed is a folder or null"
    )


@pytest.mark.parametrize("action", ["list", "fetch", "verify", "info", "mirror"])
def test_every_action_has_help(action, capsys):
    assert cli.main(["data", action, "--help"]) == 0
    assert f"Usage: hsac data {action}" in capsys.readouterr().out
