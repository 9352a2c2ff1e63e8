"""What Snakemake asks of the account is told in a line, and the command beside it gives it."""

import subprocess

import pytest

from hsac.errors import InputError
from hsac.ops import account, doctor

NAMES = ("LOGNAME", "USER", "LNAME", "USERNAME")


@pytest.fixture
def nameless(monkeypatch, tmp_path):
    """A user whom the machine does not know, with a home."""

    def unknown(number):
        raise KeyError(f"getpwuid(): uid not found: {number}")

    for name in (*NAMES, "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", unknown)
    monkeypatch.setenv("HOME", str(tmp_path))
    return monkeypatch


def follow(fix, monkeypatch):
    """Run the command as a shell does, and take over the variable that it sets."""
    name = fix.split()[1].partition("=")[0]
    script = f"{fix}; printenv {name}"
    done = subprocess.run(script, shell=True, capture_output=True, text=True, check=True)
    monkeypatch.setenv(name, done.stdout.strip())


def test_user_names_are_asked_for(nameless):
    (lack,) = account.lacking()
    assert lack.text.startswith("USER: found nothing, and user ")
    follow(lack.fix, nameless)
    assert not [*account.lacking()]


@pytest.mark.parametrize("home", [None, "", "relative"])
def test_homes_are_asked_for(nameless, home):
    nameless.setenv("USER", "somebody")
    nameless.setenv("HOME", home) if home is not None else nameless.delenv("HOME")
    (lack,) = account.lacking()
    assert lack.text.startswith(f"HOME: found {home or 'nothing'}; allowed is ")
    follow(lack.fix, nameless)
    assert not [*account.lacking()]


@pytest.mark.parametrize("key", ["HOME", "XDG_CACHE_HOME"])
def test_caches_must_be_writable(nameless, tmp_path, key):
    nameless.setenv("USER", "somebody")
    (tmp_path / "file").touch()
    nameless.setenv(key, str(tmp_path / "file"))
    (lack,) = account.lacking()
    assert lack.text.startswith(f"{key}: Snakemake's cache {tmp_path}/file/")
    follow(lack.fix, nameless)
    assert not [*account.lacking()]


def test_absent_homes_are_made(nameless, tmp_path):
    """As Snakemake makes its folders, a home need not be there yet."""
    nameless.setenv("USER", "somebody")
    nameless.setenv("HOME", str(tmp_path / "absent"))
    assert not [*account.lacking()]


def test_all_lacks_are_told(nameless):
    """By the workflow as well as by the doctor."""
    nameless.delenv("HOME")
    with pytest.raises(InputError) as caught:
        account.check()
    lines = str(caught.value).splitlines()
    assert [line.split(":")[0] for line in lines] == ["USER", "HOME"]
    found = [one for one in doctor.account(doctor.place("smoke")) if one.fix]
    assert [f"{one.text}; run: {one.fix}" for one in found] == lines
