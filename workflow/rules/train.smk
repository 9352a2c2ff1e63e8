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
        code=lambda wildcards: training_code(folder(wildcards)),
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
        candidates=lambda wildcards: [
            one["point"] for one in point_bundle(wildcards)[0]
        ],
        seeds=lambda wildcards: point_bundle(wildcards)[1],
        code=lambda wildcards: training_code(folder(wildcards)),
    shell:
        logged(
            "hsac job points --experiment {wildcards.experiment} "
            "--method {wildcards.method:q} --seeds {params.seeds} "
            "--candidate {params.candidates} --variant {input.variant:q} --index {output:q}"
        )


# All points of a searched method are trained on seeds of the search. Its own runs are
# trained at the chosen one.
rule tune:
    input:
        candidates=points,
    output:
        f"{RESULTS}/runs/{{experiment}}/{{method}}/{{hash}}/point.json",
    log:
        f"{RESULTS}/logs/{{experiment}}/{{method}}/{{hash}}/point.log",
    conda:
        "../../environment.yml"
    params:
        code=fingerprint.of_modules(["hsac.tuning"]),
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
        method="|".join(re.escape(cell["method"]) for cell in DERIVED.values())
        or "(?!)",
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
