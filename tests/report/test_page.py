"""The page stands alone and shows what the results hold."""

import re
import shutil
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from landscapes import write_study
from synthetic_records import ORDER, REFERENCES

from hsac.data import catalogue
from hsac.errors import InputError
from hsac.report.claims import Claim, read_claims, write_claims
from hsac.report.cost import write_cost
from hsac.report.figures import rule_graph, style, write_figures
from hsac.report.frozen import write_regret_tables
from hsac.report.page import (
    _claims,
    _read_claims,
    _regret,
    _sources,
    duration,
    printed_headings,
    write_page,
)
from hsac.report.pictures import write_picture
from hsac.report.published import write_published
from hsac.report.tables import write_tables
from hsac.report.theory import write_theory_tables

CLAIMS_FILE = Path(__file__).parents[2] / "config" / "claims.yaml"
LEDGER = CLAIMS_FILE.with_name("published.yaml")
NOTHING_BEHIND = {
    "tables": {},
    "columns": [],
    "lists": [],
    "cells": {},
    "parts": [],
    "environments": [],
    "files": {},
}


class Tags(HTMLParser):
    """Collects attributes and checks that tags close in order."""

    def __init__(self) -> None:
        super().__init__()
        self.attributes: list[tuple[str, str, str]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in ("meta", "link", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def html(
    results: Path, variant_file: Path, data_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> str:
    root = tmp_path_factory.mktemp("page") / "default"
    shutil.copytree(results, root)
    write_study(root, ("noisy", "few_shot"), seeds=2, points=5)
    write_claims(CLAIMS_FILE, root / "runs.parquet", root / "claims.json")
    files = (root / "runs.parquet", root / "trajectories.parquet")
    write_figures(*files, "", ORDER, REFERENCES, root / "figures")
    order = {e: ORDER[e] for e in ("digits", "glyphs_long_tailed")}
    write_tables(root / "runs.parquet", order, REFERENCES, root / "tables")
    write_theory_tables(root / "runs.parquet", order, root / "tables")
    write_regret_tables(root, root / "tables")
    write_published(LEDGER, root / "runs.parquet", root / "tables")
    write_cost(root / "runs.parquet", root / "measured.parquet", ORDER, root / "cost")
    for name in ("digits", "disease"):
        write_picture(name, data_folder, root / "data" / f"{name}.png")
    write_page(
        root, ["digits", "disease"], {"digits": variant_file}, NOTHING_BEHIND, root / "index.html"
    )
    return (root / "index.html").read_text()


@pytest.mark.parametrize("headings", printed_headings())
def test_headings_lead_to_their_column(headings):
    """Each heading stands for a column of its table, though other tables have the same names."""
    numbers = pd.DataFrame(columns=list(headings))
    assert len(set(headings.values())) == len(headings)
    assert _sources(numbers, list(headings.values())) == {
        heading: name for name, heading in headings.items()
    }


def test_nothing_is_fetched(html):
    page = Tags()
    page.feed(html)
    assert page.open == []
    for tag, name, value in page.attributes:
        if name in ("src", "srcset", "data", "poster", "action"):
            assert value.startswith("data:image/png;base64,"), (tag, name)
        if name == "href":
            assert value.startswith(("#", "data:")), (tag, value)
    assert "@import" not in html
    assert "url(" not in html


def test_links_inside_the_page_lead_somewhere(html):
    page = Tags()
    page.feed(html)
    ids = [value for _, name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert {
        value[1:] for _, name, value in page.attributes if name == "href" and value[0] == "#"
    } <= set(ids)


def test_page_answers_with_regret(html):
    """A study with frozen features has a section: sentences, figures, table and claims."""
    section = html.split('<section id="regret">')[1].split("</section>")[0]
    assert "Is the flattest curvature a good curvature?" in section
    assert section.count("<figure") == 2
    assert "Over 4 problems the choice with the least mean regret is" in section
    assert "Claims about regret" in section
    assert "Frozen features, over all problems" in section
    # They have units of their own.
    assert "Frozen features" not in html.split('<section id="regret">')[0]


def test_no_regret_without_frozen_features(results):
    assert _regret(results, []) is None


def test_page_shows_the_results(html):
    for words in (
        "reconstructed",
        "not run",
        "loss not finite at step 12",
        "All rows, split once.",
        "train 7",
        "f" * 64,
    ):
        assert words in html
    assert all(method in html for method in ORDER["digits"])
    assert "inconclusive (about" in html or "supported" in html
    assert "prefers-color-scheme: dark" in html


def test_claims_of_other_scales_only_counted(html):
    """Claims about experiments or methods of other scales are counted not shown."""
    claims = [claim for claim in read_claims(CLAIMS_FILE) if isinstance(claim, Claim)]
    here = {e: {*ORDER[e]} for e in ("digits", "glyphs_long_tailed")}
    elsewhere = [
        claim
        for claim in claims
        if not {claim.better, claim.than} <= here.get(claim.experiment, set())
    ]
    assert any(claim.experiment in here for claim in elsewhere)
    assert (
        f"{len(elsewhere)} claims about experiments or methods of other scales are left out" in html
    )
    for claim in claims:
        assert (claim.claim in unescape(html)) == (claim not in elsewhere)


def test_data_shown_with_licence_and_citation(html):
    """Data are shown with picture licence and citation."""
    text = unescape(html)
    for name, words in (("digits", "1,797 images, 8 x 8"), ("disease", "1,044 nodes, 1,043 edges")):
        entry = catalogue.entry(name)
        assert f'<h3 id="data-{name}">' in html
        assert f'<figure id="figure-data-{name}"><img src="data:image/png;base64,' in html
        for said in (
            words,
            entry.about,
            entry.licence,
            entry.citation,
            entry.source,
            f"SHA-256 {entry.sha256}",
        ):
            assert " ".join(said.split()) in text
    assert "Gromov's δ = 0" in text


def test_missing_picture_of_data_named(results, variant_file, tmp_path):
    """A missing picture of data is named."""
    root = tmp_path / "default"
    shutil.copytree(results, root)
    write_claims(CLAIMS_FILE, root / "runs.parquet", root / "claims.json")
    write_figures(
        root / "runs.parquet",
        root / "trajectories.parquet",
        "",
        ORDER,
        REFERENCES,
        root / "figures",
    )
    write_tables(root / "runs.parquet", ORDER, REFERENCES, root / "tables")
    write_theory_tables(root / "runs.parquet", ORDER, root / "tables")
    write_published(LEDGER, root / "runs.parquet", root / "tables")
    write_cost(root / "runs.parquet", root / "measured.parquet", ORDER, root / "cost")
    with pytest.raises(InputError, match=r"data/digits\.json is missing"):
        write_page(root, ["digits"], {}, NOTHING_BEHIND, root / "index.html")


def test_cells_sort_by_their_numbers(html):
    keys = re.findall(r'<td data-key="([^"]*)">(?:<svg.*?</svg>)?(\d+\.\d+ ± \d+\.\d+)</td>', html)
    assert keys
    assert all(f"{float(key):.2f}" == text.split(" ")[0] for key, text in keys)


def test_missing_pieces_are_named(results, tmp_path):
    with pytest.raises(InputError, match=r"runs\.parquet: missing"):
        write_page(tmp_path, [], {}, NOTHING_BEHIND, tmp_path / "index.html")
    shutil.copytree(results, tmp_path / "r")
    write_claims(CLAIMS_FILE, tmp_path / "r" / "runs.parquet", tmp_path / "r" / "claims.json")
    style.save(rule_graph.draw(""), tmp_path / "r" / "figures" / "rule_graph")
    with pytest.raises(InputError, match=r"overview\.csv: missing"):
        write_page(tmp_path / "r", [], {}, NOTHING_BEHIND, tmp_path / "index.html")
    write_tables(tmp_path / "r" / "runs.parquet", ORDER, REFERENCES, tmp_path / "r" / "tables")
    write_theory_tables(tmp_path / "r" / "runs.parquet", ORDER, tmp_path / "r" / "tables")
    write_published(LEDGER, tmp_path / "r" / "runs.parquet", tmp_path / "r" / "tables")
    with pytest.raises(InputError, match=r"cost\.csv: missing"):
        write_page(tmp_path / "r", [], {}, NOTHING_BEHIND, tmp_path / "index.html")
    write_cost(
        tmp_path / "r" / "runs.parquet",
        tmp_path / "r" / "measured.parquet",
        ORDER,
        tmp_path / "r" / "cost",
    )
    with pytest.raises(InputError, match=r"accuracy_by_method\.png: cannot be read"):
        write_page(tmp_path / "r", [], {}, NOTHING_BEHIND, tmp_path / "index.html")


def test_duration():
    assert duration(3723.4) == "1 h 2 min 3 s"
    assert duration(0.2) == "under 1 s"


def test_claims_show_lost_pairs():
    entry = {"difference": None, "minimum_effect": 0.5, "p_holm": None, "planned": 20, "lost": 1}
    entry |= {"lost_of": {"b": {"diverged": 1}}}
    (row,) = _claims([entry | {"verdict": "supported"}])
    assert row["lost_text"] == "(1 of 20 pairs lost: b 1 diverged)"
    assert row["pairs_of"] == " of 20"
    (said,) = _claims([entry | {"verdict": "inconclusive (1 of 20 pairs lost: b 1 diverged)"}])
    assert said["lost_text"] == ""
    (whole,) = _claims([entry | {"verdict": "supported", "lost": 0, "lost_of": {}}])
    assert (whole["lost_text"], whole["pairs_of"]) == ("", "")


@pytest.mark.parametrize(
    ("verdict", "minimum_effect", "shown"),
    [
        ("supported", 0.5, 0.01),
        ("contradicted", 0.5, 0.02),
        ("supported", -0.5, 0.02),
        ("not run", 0.5, 0.01),
    ],
)
def test_claim_shows_the_deciding_p(verdict, minimum_effect, shown):
    """The p of a claim is that of the test that decided."""
    entry = {"difference": None, "verdict": verdict, "minimum_effect": minimum_effect}
    (row,) = _claims([entry | {"p_holm": 0.01, "p_minimum_holm": 0.02}])
    assert row["p_key"] == shown


@pytest.mark.parametrize("content", ["{}x", '{"a": 1}', "[1]", '[{"id": "a"}]', "3", '["a"]'])
def test_swapped_claims_are_named(tmp_path, content):
    """What is no list of judged claims gives one line."""
    path = tmp_path / "claims.json"
    path.write_text(content)
    with pytest.raises(InputError, match=r"claims\.json") as caught:
        _read_claims(path)
    assert "\n" not in str(caught.value)
