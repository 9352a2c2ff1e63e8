"""Every cell of every table has its provenance, and is computed again from nothing else."""

import dataclasses
import json
from importlib import import_module
from pathlib import Path

import pytest
from smoke_results import small, smoke_results

from hsac.files import file_sha256, read_json
from hsac.report import columns, provenance
from hsac.report.answer import Answer, same
from hsac.report.columns import SETTINGS
from hsac.report.provenance import page_data, read_sidecars
from hsac.study import load
from hsac.study.graph import Graph


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("project"))
        return smoke_results(Path.cwd(), small(bundle=2)).absolute()


def answers(results: Path, name: str, sidecar: provenance.Sidecar):
    """The answer for every cell of a table, with the value that its CSV states."""
    graph = Graph(load.read(results / "settings.json"), results)
    numbers = provenance.read_numbers(provenance.csv_paths(results)[name])
    for row in provenance.rows_of(numbers):
        for column, value in row.items():
            label = provenance.label(sidecar.key, row)
            yield Answer(results, graph, sidecar, label, column), value


def wrong(
    results: Path, name: str, sidecar: provenance.Sidecar, column: str | None = None
) -> list[str]:
    """Return the cells that are not what comes out of the records and files listed for them."""
    made, out = {}, []
    for answer, value in answers(results, name, sidecar):
        if column not in (None, answer.column):
            continue
        key = json.dumps(answer.roles)
        if key not in made:
            made[key] = answer.recomputed()
        if not same(value, made[key].get(answer.row, {}).get(answer.column)):
            out.append(f"{answer.row}: {answer.column}")
    return out


def test_every_table_has_a_sidecar(results):
    tables = set(provenance.csv_paths(results))
    assert tables >= {
        "digits",
        "disease",
        "overview",
        "failures",
        "certificates",
        "coverage",
        "published",
        "cost",
    }
    assert "hypergradient_bias" in tables
    assert set(read_sidecars(results)) == tables


def test_every_cell_recomputes_from_its_sidecar(results):
    """Every cell is computed again from what its sidecar lists."""
    for name, sidecar in read_sidecars(results).items():
        numbers = provenance.read_numbers(provenance.csv_paths(results)[name])
        assert set(numbers.columns) <= set(sidecar.columns), name
        assert len(sidecar.rows) == len(numbers) > 0, name
        assert set(sidecar.headings.values()) <= set(sidecar.columns), name
        assert wrong(results, name, sidecar) == [], name


@pytest.mark.parametrize(
    ("table", "column", "uses"),
    [
        ("digits", "p_holm", ["own", "reference"]),
        ("digits", "difference_points", ["own"]),
        ("certificates", "test_percent", ["rows"]),
        ("overview", "digits_percent", ["disease"]),
    ],
)
def test_an_incomplete_list_is_noticed(results, table, column, uses):
    sidecar = read_sidecars(results)[table]
    sidecar.columns[column] = dataclasses.replace(sidecar.columns[column], uses=tuple(uses))
    assert wrong(results, table, sidecar, column)


def test_functions_and_fields_are_real(results):
    record = read_json(next((results / "runs/digits/sgd+hsac").rglob("seed0.json")))
    for sidecar in read_sidecars(results).values():
        for origin in sidecar.columns.values():
            if origin.function != SETTINGS:
                module, _, name = origin.function.rpartition(".")
                try:
                    found = import_module(module)
                except ModuleNotFoundError:  # a method of a class
                    module, _, part = module.rpartition(".")
                    found = getattr(import_module(module), part)
                assert callable(getattr(found, name))
    for column in (*columns.EXPERIMENT, *columns.COST):
        head = column.origin.field.split(".")[0]
        # a record has `tuning` where its method is searched
        assert head in record or head == "tuning", column.name


def test_sidecar_lists_records_with_digests(results):
    """A sidecar lists records with their digests."""
    sidecar = read_sidecars(results)["digits"]
    cell = sidecar.cells["digits/sgd+hsac"]
    folder = results / cell.folder
    assert cell.indexes == {"block0.json": [0, 1], "block1.json": [2]}
    assert [run[:3] for run in cell.runs] == [
        (seed, f"seed{seed}.json", "ok") for seed in (0, 1, 2)
    ]
    assert [run.sha256 for run in cell.runs] == [
        file_sha256(folder / f"seed{seed}.json") for seed in (0, 1, 2)
    ]
    assert cell.config == folder.name
    assert sidecar.environments[cell.runs[0].environment]["versions"]["python"] == "3.11.0"


def test_grid_brings_its_candidates(results):
    """A grid brings the cells it chose from."""
    cells = read_sidecars(results)["digits"].cells
    assert cells["digits/sgd+grid"].made_from == ["digits/sgd+fixed@0.1", "digits/sgd+fixed@0.3"]
    assert len(cells["digits/sgd+fixed@0.1"].runs) == 3  # which is in no row of the table


def test_only_rows_behind_measurements_listed(results):
    """Only the rows behind the measurements are listed."""
    sidecar = read_sidecars(results)["certificates"]
    measured = sidecar.cells["digits/sgd+hsac"].measured
    assert [seed for seed, _, _ in measured] == [0, 1, 2]
    assert all(read_json(results / file)["trace"] > 1.0 for _, file, _ in measured)
    assert read_sidecars(results)["digits"].cells["digits/sgd+hsac"].measured == []


def test_page_data_holds_clicked_cells(results):
    """Page data holds what a click opens."""
    data = page_data(results)
    for name, sidecar in read_sidecars(results).items():
        table = data["tables"][name]
        for row, roles in sidecar.rows.items():
            for column, position in table["columns"].items():
                how = data["columns"][position]
                assert how == dataclasses.asdict(sidecar.columns[column])
                for role in how["uses"]:
                    listed = data["lists"][table["rows"][row][role]] if role in roles else []
                    assert listed == (sidecar.lists[roles[role]] if role in roles else [])
                    assert all(
                        item.partition("#")[0] in data["cells"] or item in data["files"]
                        for item in listed
                    )
    cell = data["cells"]["digits/sgd+hsac"]
    shown = {key: data["parts"][position] for key, position in cell["configuration"].items()}
    assert shown == read_json(results / cell["folder"] / "seed0.json")["config"]
    assert data["environments"][cell["runs"][0][4]]["host"] == "synthetic"
    assert len(json.dumps(data)) < 100_000


@pytest.mark.slow
def test_page_data_of_default_is_small(tmp_path, monkeypatch):
    """Page data of the default scale is small."""
    monkeypatch.chdir(tmp_path)
    results = smoke_results(tmp_path, {}, "default")
    assert len(json.dumps(page_data(results), separators=(",", ":"))) < 300_000
    assert all(path.stat().st_size < 150_000 for path in (results / "provenance").glob("*.json"))
