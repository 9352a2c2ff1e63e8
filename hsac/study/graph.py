"""Everything that a study asks for: its jobs, bundles, runs, and where each file lies.

This is the only module that lists the work. The workflow's rules, the plan, what is stale, the
verification, the progress bar, the report and the command line loop over it.

A bundle is what one job makes: it trains seeds of one cell, or some trials of a search with their
seeds, or it chooses a derived cell's runs among other bundles. The seeds of a bundle share their
block, `seed // bundle`. So a further seed leaves the other bundles as they are. Records and the
index of a bundle lie in a folder named by the hash of the cell's configuration. So a changed cell
gets a new folder.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any

from hsac.data import variants
from hsac.errors import InputError
from hsac.files import home_expanded
from hsac.study import resolve
from hsac.study.cell import Cell
from hsac.study.frozen import BACKBONE, Frozen
from hsac.study.models import Experiment, Study, variant_id

TRAIN, POINTS, SELECT = "train", "points", "select"  # rules that make bundles
SHARED = ("data", "theory", "report")  # parts of the work that no experiment owns
RECORD_RULES = (TRAIN, POINTS, SELECT, "tune")  # whose files lie with the run records
RULES_ON_HEADS = "rules_on_heads"
LANDSCAPE = "landscape_over_c"  # makes the results on frozen features
# whose files are the theory's, which tables, figures, claims and the page are made from
THEORY_RULES = ("study", "certify", "hypergradient", "measure", LANDSCAPE, RULES_ON_HEADS)


@dataclass(frozen=True)
class Bundle:
    """Runs that one job makes.

    Attributes:
        rule: `train`, `points` (trials of a search) or `select` (chosen among other bundles).
        index: the file that names its records; it is written last.
        of: the cell that the bundle belongs to.
        cells: the cells of its runs: `of` itself, or some of its trials.
        seeds: the seeds of each of these cells.
    """

    rule: str
    index: Path
    of: Cell
    cells: tuple[Cell, ...]
    seeds: tuple[int, ...]

    def record(self, cell: Cell, seed: int) -> Path:
        """Return where the record of a run lies.

        Args:
            cell: one of `cells`.
            seed: one of `seeds`.
        """
        # A trial's records lie in a folder of its own, beside that of its searched cell.
        return self.index.parent.with_name(cell.hash) / f"seed{seed}.json"

    def runs(self) -> Iterator["Run"]:
        """Yield the runs of the bundle."""
        for cell in self.cells:
            for seed in self.seeds:
                yield Run(cell, seed, self.record(cell, seed), self)


@dataclass(frozen=True)
class Run:
    """One seed of one cell.

    Attributes:
        cell: the cell; for a run of a search, the trial's cell.
        seed: the seed.
        record: the path of its record.
        bundle: the bundle that makes it.
    """

    cell: Cell
    seed: int
    record: Path
    bundle: Bundle


@dataclass(frozen=True)
class Job:
    """A job of the workflow.

    Attributes:
        rule: its rule.
        owner: the experiment, or one of `SHARED`, that it belongs to.
        output: its file or folder; the first, where it makes several files.
        needs: the files that it is made from: a change of one makes the job run again.
        beside: its other files.
    """

    rule: str
    owner: str
    output: Path
    needs: tuple[Path, ...] = ()
    beside: tuple[Path, ...] = ()


def data_root() -> Path:
    """Return the folder of the data: `HSAC_DATA`, else `data`.

    Raises:
        InputError: names HSAC_DATA.
    """
    # A file of variables for containers sets it empty where it has no value.
    given = os.environ.get("HSAC_DATA") or "data"
    if any(c in "{}" or c < " " for c in given):
        allowed = "allowed is a folder without control characters and Snakemake's { and }"
        raise InputError(f"HSAC_DATA: found {given!r}; {allowed}")
    return home_expanded(given, "HSAC_DATA")


def results_root(scale: str) -> Path:
    """Return the results folder of a scale.

    Args:
        scale: its name.
    """
    return Path("results") / scale


def check_writable(folder: Path) -> None:
    """Check that something can be written into a folder, which need not be there yet.

    Args:
        folder: the folder.

    Raises:
        InputError: names the folder.
    """
    # What is not there yet will be made in the nearest folder that is.
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    allowed = "allowed is a folder that can be written"
    if not there.is_dir():
        raise InputError(f"{folder}: found a file at {there}; {allowed}")
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError(f"{folder}: {there} cannot be written; {allowed}")


def manifest_path(dataset: str) -> Path:
    """Return the manifest that a fetched dataset ends with.

    Args:
        dataset: the name of the dataset.
    """
    return data_root() / "raw" / dataset / "manifest.json"


def variant_path(experiment: Experiment) -> Path:
    """Return the variant file of an experiment.

    Args:
        experiment: the experiment.
    """
    return recorded_variant(experiment.dataset, experiment.variant.dump())


def recorded_variant(dataset: str, variant: Mapping[str, Any]) -> Path:
    """Return the variant file of a run.

    Args:
        dataset: the dataset, as the run's record names it.
        variant: the variant, as the run's record holds it.
    """
    return data_root() / "variants" / dataset / f"{variant_id(dataset, variant)}.json"


def variant_inputs(experiment: Experiment) -> list[Path]:
    """Return the files that a variant is made of.

    Args:
        experiment: the experiment.

    Returns:
        The manifests of its dataset and of the labels that it takes, and the file of its class
        split.
    """
    datasets, files = variants.inputs(experiment.variant.made_by())
    return [manifest_path(dataset) for dataset in (experiment.dataset, *datasets)] + files


def blocks(seeds: Sequence[int], size: int) -> dict[int, list[int]]:
    """Return the seeds of each bundle by `seed // size`.

    Args:
        seeds: the seeds.
        size: how many runs a bundle has at most.
    """
    # Sorted, since `groupby` only joins neighbours.
    return {block: list(group) for block, group in groupby(sorted(seeds), lambda s: s // size)}


class Graph:
    """The work of a study.

    Args:
        study: the study.
        results: its results folder, by default that of its scale.
    """

    def __init__(self, study: Study, results: Path | None = None) -> None:
        self.study = study
        self.results = results_root(study.scale) if results is None else results

    # --- cells and bundles ---

    @cached_property
    def cells(self) -> list[Cell]:
        """The cells of the tables, in the configuration's order."""
        return resolve.cells(self.study)

    @cached_property
    def trained(self) -> list[Cell]:
        """Every cell that is trained: also trials, and cells that a derived one looks at."""
        return resolve.trained(self.study)

    @cached_property
    def derived(self) -> list[Cell]:
        """The cells whose runs are chosen among other cells' runs."""
        return [cell for cell in self.cells if cell.derived]

    @cached_property
    def bundles(self) -> list[Bundle]:
        """Every bundle: for each trained cell its trials' and its own, then the derived cells'."""
        found: list[Bundle] = []
        for cell in self.trained:
            if cell.point is None:  # a trial is trained in a bundle of its searched cell
                found += [*self.trial_bundles(cell), *self.own_bundles(cell)]
        for cell in self.derived:
            found += self.own_bundles(cell)
        return found

    @cached_property
    def by_index(self) -> dict[Path, Bundle]:
        """The bundles by their index."""
        return {bundle.index: bundle for bundle in self.bundles}

    @cached_property
    def _by_folder(self) -> dict[tuple[str, str, str], Cell]:
        found = {}
        for cell in (*self.trained, *self.derived):
            if cell.point is None:
                found[cell.experiment, cell.method, cell.hash] = cell
        return found

    def cell(self, experiment: str, method: str, config_hash: str) -> Cell:
        """Return the cell whose bundles lie in a folder; it is no trial of a search.

        Args:
            experiment: the first part of the folder.
            method: the second.
            config_hash: the third, the hash of the cell.
        """
        return self._by_folder[experiment, method, config_hash]

    def own_bundles(self, cell: Cell) -> list[Bundle]:
        """Return the bundles of a cell's own seeds.

        Args:
            cell: a cell. For a trial: the bundles it would have outside of a search.
        """
        found = []
        seeds_of = blocks(resolve.seeds(self.study, cell), self.study.bundle)
        rule = SELECT if cell.derived else TRAIN
        for block, seeds in seeds_of.items():
            index = self.folder(cell) / f"block{block}.json"
            found.append(Bundle(rule, index, cell, (cell,), tuple(seeds)))
        return found

    def trial_bundles(self, cell: Cell) -> list[Bundle]:
        """Return the bundles of the trials of a searched cell, none for another cell.

        Args:
            cell: a cell.

        Returns:
            A bundle holds as many trials as fit: `bundle // seeds`, at least one. Equal trials are
            listed once, as the first of them. A trial's seeds train together, whichever other
            trials share its bundle.
        """
        # In reverse, so that of trials that came out alike the first one stays.
        alike = {trial.hash: trial for trial in reversed(resolve.trials(self.study, cell))}
        points = sorted(alike.values(), key=lambda trial: trial.point or 0)
        found: list[Bundle] = []
        if not points:
            return found
        for seeds in blocks(resolve.seeds(self.study, points[0]), self.study.bundle).values():
            size = max(1, self.study.bundle // len(seeds))
            for start in range(0, len(points), size):
                index = self.folder(cell) / f"points{len(found)}.json"
                some = tuple(points[start : start + size])
                found.append(Bundle(POINTS, index, cell, some, tuple(seeds)))
        return found

    def candidates(self, bundle: Bundle) -> list[Path]:
        """Return the indexes that a bundle of a derived cell is chosen among.

        Args:
            bundle: a bundle of the rule `select`.
        """
        among = resolve.candidates(self.study, bundle.of)
        return [self.folder(cell) / bundle.index.name for cell in among]

    def indexes(self, cells: Iterable[Cell]) -> list[Path]:
        """Return the indexes of the bundles of cells' own seeds.

        Args:
            cells: cells that are no trials of a search.
        """
        return [bundle.index for cell in cells for bundle in self.own_bundles(cell)]

    def runs(self) -> Iterator[Run]:
        """Yield every run that is trained."""
        for bundle in self.bundles:
            if bundle.rule != SELECT:
                yield from bundle.runs()

    # --- paths ---

    def folder(self, cell: Cell) -> Path:
        """Return the folder of a cell's records.

        Args:
            cell: a cell, or a trial.
        """
        return self.results / "runs" / cell.experiment / cell.method / cell.hash

    def point_file(self, cell: Cell) -> Path:
        """Return the file that says which point the search of a cell chose.

        Args:
            cell: a searched cell.
        """
        return self.folder(cell) / "point.json"

    def point_files(self, cells: Iterable[Cell]) -> list[Path]:
        """Return the files that say which points the searches of cells chose.

        Args:
            cells: any cells; only the searched ones have such a file.
        """
        return [self.point_file(cell) for cell in cells if cell.searched]

    def variant(self, experiment: str) -> Path:
        """Return the variant file of an experiment.

        Args:
            experiment: its name.
        """
        return variant_path(self.study.experiments[experiment])

    @property
    def datasets(self) -> list[str]:
        """The datasets of experiments and frozen features, and labels of variants, each once."""
        found: list[str] = []
        for experiment in self.study.experiments.values():
            others, _ = variants.inputs(experiment.variant.made_by())
            found += [experiment.dataset, *others]
        if self.study.frozen:
            found += [features.dataset for features in self.study.frozen.features.values()]
        return list(dict.fromkeys(found))

    def picture(self, dataset: str) -> Path:
        """Return the picture of a dataset; its .pdf and its caption as .json lie beside it.

        Args:
            dataset: its name.
        """
        return self.results / "data" / f"{dataset}.png"

    def theory_file(self, kind: str, name: str) -> Path:
        """Return a file of the theory.

        Args:
            kind: "" for a study, `landscape` for measurements of an experiment's trained
                networks, `informed` for certificates with an informed prior, `hypergradient` for
                the study of its bias.
            name: the study or the experiment.
        """
        return self.results / "theory" / kind / f"{name}.csv"

    @property
    def studies(self) -> list[str]:
        """The names of the studies of the theory."""
        return list(self.study.theory.studies) if self.study.theory else []

    # --- frozen features ---

    def features_file(self, name: str) -> Path:
        """Return the file of frozen features; its manifest lies beside it as .json.

        Args:
            name: their name in `frozen.features`.
        """
        return self.results / "frozen" / "features" / f"{name}.npz"

    def backbone_variant(self, name: str) -> list[Path]:
        """Return the variant file that the backbones of features were trained on.

        Args:
            name: the features' name in `frozen.features`.

        Returns:
            The one file, none where no backbone computes the features.
        """
        experiment = self._backbone_experiment(name)
        return [] if experiment is None else [self.variant(experiment)]

    def backbone_indexes(self, name: str) -> list[Path]:
        """Return the indexes of the bundles that train the backbones of features.

        Args:
            name: the features' name in `frozen.features`.

        Returns:
            The indexes, none where no backbone computes the features.
        """
        experiment = self._backbone_experiment(name)
        if experiment is None:
            return []
        method = self._frozen.features[name].parameters["method"]
        return self.indexes([resolve.cell(self.study, experiment, method)])

    def landscape_file(self, problem: str, dim: int) -> Path:
        """Return the file of the landscape over c of a problem.

        Args:
            problem: its name in `frozen.problems`.
            dim: one of its dimensions.
        """
        return self.results / "frozen" / "landscape" / f"{problem}_{dim}.csv"

    def rules_file(self, kind: str, problem: str, dim: int) -> Path:
        """Return a file of the rules that are followed on solved heads.

        Args:
            kind: `hypergradients` or `ends`.
            problem: the name of a problem of `frozen.rules`.
            dim: one of its dimensions.
        """
        return self.results / "frozen" / kind / f"{problem}_{dim}.csv"

    @property
    def landscape_files(self) -> list[Path]:
        """The files of all landscapes over c, none without frozen features."""
        frozen = self.study.frozen
        return [self.landscape_file(*one) for one in frozen.landscapes()] if frozen else []

    @property
    def _frozen(self) -> Frozen:
        assert self.study.frozen is not None  # asked of a study that has the key
        return self.study.frozen

    def _backbone_experiment(self, name: str) -> str | None:
        features = self._frozen.features[name]
        return features.parameters["experiment"] if features.recipe == BACKBONE else None

    # --- jobs ---

    @cached_property
    def jobs(self) -> list[Job]:
        """Every job of the workflow from empty folders on, each after those it needs."""
        jobs = _Jobs(self)
        jobs.data()
        for bundle in self.bundles:
            jobs.bundle(bundle)
        jobs.theory()
        jobs.frozen()
        jobs.report()
        return list(jobs.made.values())

    @property
    def theory_files(self) -> list[Path]:
        """Every file of the theory."""
        return [job.output for job in self.jobs if job.rule in THEORY_RULES]

    @property
    def artefacts(self) -> list[Job]:
        """The jobs that make the results of a scale of its run records, or of nothing."""
        here = [job for job in self.jobs if self.results in job.output.parents]
        return [job for job in here if job.rule not in RECORD_RULES]


class _Jobs:
    """The jobs of a graph, by their file, while they are listed."""

    def __init__(self, graph: Graph) -> None:
        self.graph, self.study, self.results = graph, graph.study, graph.results
        self.made: dict[Path, Job] = {}
        # Only the report waits for it: trainings depend on fingerprints and variants instead.
        self.resolved = self.add("settings", "report", self.results / "settings.json")

    def add(
        self, rule: str, owner: str, output: Path, *needs: Path, beside: Iterable[Path] = ()
    ) -> Path:
        # Experiments share datasets and variants, whose job is listed once.
        self.made.setdefault(output, Job(rule, owner, output, needs, tuple(beside)))
        return output

    def data(self) -> None:
        for experiment in self.study.experiments.values():
            inputs = variant_inputs(experiment)
            for path in inputs:
                if path.name == "manifest.json":
                    self.add("fetch", "data", path)
            self.add("variant", "data", variant_path(experiment), *inputs)

    def bundle(self, bundle: Bundle) -> None:
        graph, cell = self.graph, bundle.of
        if bundle.rule == SELECT:
            needs = graph.candidates(bundle)
        else:
            needs = [graph.variant(cell.experiment)]
        if bundle.rule == TRAIN and cell.searched:
            among = [trial.index for trial in graph.trial_bundles(cell)]
            needs.append(self.add("tune", cell.experiment, graph.point_file(cell), *among))
        self.add(bundle.rule, cell.experiment, bundle.index, *needs)

    def theory(self) -> None:
        graph = self.graph
        for study in graph.studies:
            self.add("study", "theory", graph.theory_file("", study))
        for name, experiment in self.study.experiments.items():
            variant = graph.variant(name)
            if experiment.informed:
                points = graph.point_files(resolve.informed(self.study, name))
                self.add("certify", name, graph.theory_file("informed", name), variant, *points)
            if experiment.hypergradient:
                points = graph.point_files([resolve.studied(self.study, name)])
                path = graph.theory_file("hypergradient", name)
                self.add("hypergradient", name, path, variant, *points)
            measured = graph.indexes(resolve.measured(self.study, name))
            if measured:
                path = graph.theory_file("landscape", name)
                self.add("measure", name, path, variant, *measured)

    def frozen(self) -> None:
        graph, frozen = self.graph, self.study.frozen
        if frozen is None:
            return
        for name, features in frozen.features.items():
            data = self.add("fetch", "data", manifest_path(features.dataset))
            path = graph.features_file(name)
            needs = (data, *graph.backbone_variant(name), *graph.backbone_indexes(name))
            self.add("features", "theory", path, *needs, beside=[path.with_suffix(".json")])
        for name, dim in frozen.landscapes():
            given = graph.features_file(frozen.problems[name].features)
            self.add(LANDSCAPE, "theory", graph.landscape_file(name, dim), given)
        for name, dim in frozen.followed():
            given = graph.features_file(frozen.problems[name].features)
            made, beside = (
                graph.rules_file(kind, name, dim) for kind in ("hypergradients", "ends")
            )
            self.add(RULES_ON_HEADS, "theory", made, given, beside=[beside])

    def report(self) -> None:
        graph, resolved = self.graph, self.resolved
        theory = [job.output for job in self.made.values() if job.rule in THEORY_RULES]
        judged = [graph.theory_file("", study) for study in graph.studies]
        judged += graph.landscape_files

        def report(rule: str, name: str, *needs: Path, beside: Sequence[str] = ()) -> Path:
            others = [self.results / other for other in beside]
            return self.add(rule, "report", self.results / name, *needs, beside=others)

        gathered = [resolved, *graph.indexes(graph.cells)]
        others = ("trajectories.parquet", "measured.parquet")
        runs = report("gather", "runs.parquet", *gathered, beside=others)
        claims = report("claims", "claims.json", runs, *judged)
        tables = report("tables", "tables", resolved, runs, *theory)
        cost = report("cost", "cost", resolved, runs)
        behind = report("provenance", "provenance", resolved, runs, tables, cost)
        dot = report("rule_graph", "rulegraph.dot")
        figures = report("figures", "figures", resolved, runs, dot, *theory)
        pictures = []
        for name in graph.datasets:
            path = graph.picture(name)
            beside = [path.with_suffix(ending) for ending in (".pdf", ".json")]
            needs = manifest_path(name)
            pictures.append(self.add("picture", "data", path, needs, beside=beside))
        landscapes = graph.landscape_files
        parts = (resolved, runs, claims, tables, cost, behind, figures, *pictures, *landscapes)
        report("page", "index.html", *parts)
