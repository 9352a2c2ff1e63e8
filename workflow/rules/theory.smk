rule study:
    output:
        f"{RESULTS}/theory/{{study}}.csv",
    log:
        f"{RESULTS}/logs/theory/{{study}}.log",
    conda:
        "../../environment.yml"
    params:
        parameters=lambda wildcards: json.dumps(
            SETTINGS["theory"]["studies"][wildcards.study]
        ),
        code=lambda wildcards: fingerprint.of_modules(
            [f"hsac.theory.studies.{wildcards.study}"]
        ),
    shell:
        logged("hsac job theory {wildcards.study} --output {output:q}")


rule measure:
    input:
        variant=variant,
        indexes=lambda wildcards: measured(wildcards.experiment),
    output:
        f"{RESULTS}/theory/landscape/{{experiment}}.csv",
    log:
        f"{RESULTS}/logs/theory/landscape_{{experiment}}.log",
    conda:
        "../../environment.yml"
    params:
        theory=lambda wildcards: json.dumps(configuration.measured_options(SETTINGS)),
        code=fingerprint.of_modules(["hsac.theory.landscape"]),
    shell:
        logged(
            "hsac job measure --experiment {wildcards.experiment} "
            "--variant {input.variant:q} --indexes {input.indexes:q} --output {output:q}"
        )


rule certify:
    input:
        variant=variant,
        points=informed_points,
    output:
        f"{RESULTS}/theory/informed/{{experiment}}.csv",
    log:
        f"{RESULTS}/logs/theory/informed_{{experiment}}.log",
    conda:
        "../../environment.yml"
    params:
        cells=lambda wildcards: informed_cells(wildcards.experiment),
        seeds=lambda wildcards: configuration.seeds(SETTINGS, wildcards.experiment),
        options=json.dumps([SETTINGS["theory"][k] for k in ("informed", "certificate")]),
        code=fingerprint.of_modules(["hsac.theory.informed"]),
    shell:
        logged(
            "hsac job certify --experiment {wildcards.experiment} "
            "--variant {input.variant:q} --output {output:q} --points {input.points:q}"
        )


rule hypergradient:
    input:
        variant=variant,
        points=hypergradient_points,
    output:
        f"{RESULTS}/theory/hypergradient/{{experiment}}.csv",
    log:
        f"{RESULTS}/logs/theory/hypergradient_{{experiment}}.log",
    conda:
        "../../environment.yml"
    params:
        cell=lambda wildcards: hypergradient_cell(wildcards.experiment),
        options=lambda wildcards: json.dumps(
            configuration.hypergradient_options(SETTINGS, wildcards.experiment)
        ),
        code=fingerprint.of_modules(["hsac.theory.hypergradient_bias"]),
    shell:
        logged(
            "hsac job hypergradient --experiment {wildcards.experiment} "
            "--variant {input.variant:q} --output {output:q} --points {input.points:q}"
        )
