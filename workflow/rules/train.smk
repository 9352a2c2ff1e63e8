BUNDLE = f"{RESULTS}/runs/{{experiment}}/{{method}}/{{hash}}/block{{block}}.json"
BUNDLE_LOG = f"{RESULTS}/logs/{{experiment}}/{{method}}/{{hash}}/block{{block}}.log"


ruleorder: select > train


rule train:
    input:
        variant=variant,
        point=point,
    output:
        BUNDLE,
    log:
        BUNDLE_LOG,
    conda:
        "../../environment.yml"
    params:
        seeds=bundle_seeds,
        point=point_option,
        code=training_code,
    shell:
        logged(
            "hsac job train --experiment {wildcards.experiment} "
            "--method {wildcards.method:q} --seeds {params.seeds} {params.point} "
            "--variant {input.variant:q} --index {output:q}"
        )


# A job trains as many points of a searched method as fit into a bundle. Each point is a
# cell in a folder of its own.
rule points:
    input:
        variant=variant,
    output:
        f"{RESULTS}/runs/{{experiment}}/{{method}}/{{hash}}/points{{block}}.json",
    log:
        f"{RESULTS}/logs/{{experiment}}/{{method}}/{{hash}}/points{{block}}.log",
    conda:
        "../../environment.yml"
    params:
        trials=lambda wildcards: [
            trial.point for trial in points_bundle(wildcards).cells
        ],
        seeds=lambda wildcards: list(points_bundle(wildcards).seeds),
        code=training_code,
    shell:
        logged(
            "hsac job points --experiment {wildcards.experiment} "
            "--method {wildcards.method:q} --seeds {params.seeds} "
            "--trial {params.trials} --variant {input.variant:q} --index {output:q}"
        )


# All points of a searched method are trained on seeds of the search. Its own runs are
# trained at the chosen one.
rule tune:
    input:
        candidates=trials,
    output:
        f"{RESULTS}/runs/{{experiment}}/{{method}}/{{hash}}/point.json",
    log:
        f"{RESULTS}/logs/{{experiment}}/{{method}}/{{hash}}/point.log",
    conda:
        "../../environment.yml"
    params:
        code=fingerprint.of_modules(["hsac.study.search"]),
    shell:
        logged(
            "hsac job tune --experiment {wildcards.experiment} "
            "--method {wildcards.method:q} --candidates {input.candidates:q} --output {output:q}"
        )


# `grid` and `best_of` train nothing of their own: their runs are chosen among those of
# other methods.
rule select:
    input:
        candidates=candidates,
    output:
        BUNDLE,
    log:
        BUNDLE_LOG,
    wildcard_constraints:
        method="|".join(re.escape(one.method) for one in GRAPH.derived) or "(?!)",
    conda:
        "../../environment.yml"
    params:
        seeds=bundle_seeds,
    shell:
        logged(
            "hsac job select --experiment {wildcards.experiment} "
            "--method {wildcards.method:q} --seeds {params.seeds} "
            "--candidates {input.candidates:q} --index {output:q}"
        )
