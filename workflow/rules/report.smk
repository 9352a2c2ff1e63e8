rule gather:
    input:
        settings=SETTINGS_FILE,
        indexes=INDEXES,
    output:
        runs=f"{RESULTS}/runs.parquet",
        trajectories=f"{RESULTS}/trajectories.parquet",
        measured=f"{RESULTS}/measured.parquet",
    log:
        f"{RESULTS}/logs/gather.log",
    conda:
        "../../environment.yml"
    threads: 2
    params:
        results=subpath(output.runs, parent=True),
        code=fingerprint.of_modules(["hsac.report.gather", *plugins.modules("metric")]),
    shell:
        logged(
            "hsac job gather --settings {input.settings:q} --results {params.results:q} "
            "--processes {threads}"
        )


rule claims:
    input:
        claims="config/claims.yaml",
        runs=rules.gather.output.runs,
        theory=STUDIES,
        landscapes=LANDSCAPES,
    output:
        f"{RESULTS}/claims.json",
    log:
        f"{RESULTS}/logs/claims.log",
    conda:
        "../../environment.yml"
    params:
        code=fingerprint.of_modules(["hsac.report.claims"]),
    shell:
        logged(
            "hsac claims --claims {input.claims:q} --runs {input.runs:q} "
            "--output {output:q}"
        )


rule tables:
    input:
        settings=SETTINGS_FILE,
        runs=rules.gather.output.runs,
        published="config/published.yaml",
        theory=THEORY,
    output:
        report(
            directory(f"{RESULTS}/tables"),
            patterns=["{name}.csv"],
            category="Tables",
            labels={"table": "{name}"},
            caption="../report/tables.rst",
        ),
    log:
        f"{RESULTS}/logs/tables.log",
    conda:
        "../../environment.yml"
    params:
        code=fingerprint.of_modules(
            [
                f"hsac.report.{name}"
                for name in ("tables", "theory", "published", "frozen")
            ]
        ),
    shell:
        logged(
            "hsac job tables --settings {input.settings:q} --runs {input.runs:q} "
            "--published {input.published:q} --output {output:q}"
        )


# what differs from one execution to the next lies apart from the tables
rule cost:
    input:
        settings=SETTINGS_FILE,
        runs=rules.gather.output.runs,
        measured=rules.gather.output.measured,
    output:
        report(
            directory(f"{RESULTS}/cost"),
            patterns=["{name}.csv"],
            category="Tables",
            labels={"table": "{name}"},
            caption="../report/cost.rst",
        ),
    log:
        f"{RESULTS}/logs/cost.log",
    conda:
        "../../environment.yml"
    params:
        code=fingerprint.of_modules(["hsac.report.cost"]),
    shell:
        logged(
            "hsac job cost --settings {input.settings:q} --runs {input.runs:q} "
            "--measured {input.measured:q} --output {output:q}"
        )


rule provenance:
    input:
        settings=SETTINGS_FILE,
        runs=rules.gather.output.runs,
        published="config/published.yaml",
        tables=rules.tables.output,
        cost=rules.cost.output,
    output:
        directory(f"{RESULTS}/provenance"),
    log:
        f"{RESULTS}/logs/provenance.log",
    conda:
        "../../environment.yml"
    params:
        code=fingerprint.of_modules(["hsac.report.provenance"]),
    shell:
        logged(
            "hsac job provenance --settings {input.settings:q} --runs {input.runs:q} "
            "--published {input.published:q}"
        )


rule rule_graph:
    output:
        f"{RESULTS}/rulegraph.dot",
    log:
        f"{RESULTS}/logs/rule_graph.log",
    conda:
        "../../environment.yml"
    params:
        # the one that runs: it may lie outside the folder of the results
        snakefile=workflow.main_snakefile,
        scale=f"scale={SCALE}",
        plugins=f"plugins={json.dumps(STUDY.plugins)}",
        rules=sorted(rule.name for rule in workflow.rules),
    shell:
        "snakemake --snakefile {params.snakefile:q} --directory . --workflow-profile none"
        " --config {params.scale:q} {params.plugins:q} --nolock --forceall --rulegraph"
        " > {output:q} 2> {log:q} || {{ cat {log:q} >&2; exit 2; }}"


rule figures:
    input:
        settings=SETTINGS_FILE,
        runs=rules.gather.output.runs,
        trajectories=rules.gather.output.trajectories,
        rulegraph=rules.rule_graph.output,
        theory=THEORY,
    output:
        report(
            directory(f"{RESULTS}/figures"),
            patterns=["{name}.png"],
            category="Figures",
            labels={"figure": "{name}"},
            caption="../report/figures.rst",
        ),
    log:
        f"{RESULTS}/logs/figures.log",
    conda:
        "../../environment.yml"
    params:
        code=fingerprint.of_modules(["hsac.report.figures", *plugins.modules("figure")]),
    shell:
        logged(
            "hsac job figures --settings {input.settings:q} --runs {input.runs:q} "
            "--trajectories {input.trajectories:q} --rulegraph {input.rulegraph:q} "
            "--output {output:q}"
        )


rule page:
    input:
        settings=SETTINGS_FILE,
        runs=rules.gather.output.runs,
        claims=rules.claims.output,
        measured=rules.gather.output.measured,
        tables=rules.tables.output,
        cost=rules.cost.output,
        provenance=rules.provenance.output,
        figures=rules.figures.output,
        pictures=PICTURES,
        landscapes=LANDSCAPES,
    output:
        report(
            f"{RESULTS}/index.html",
            category="Page",
            labels={"page": "everything"},
            caption="../report/page.rst",
        ),
    log:
        f"{RESULTS}/logs/page.log",
    conda:
        "../../environment.yml"
    params:
        results=subpath(output[0], parent=True),
        code=fingerprint.of_modules(["hsac.report.page"]),
    shell:
        logged(
            "hsac job page --settings {input.settings:q} --results {params.results:q}"
        )
