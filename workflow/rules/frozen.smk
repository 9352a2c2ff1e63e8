rule features:
    input:
        data=features_data,
        variant=backbone_variant,
        indexes=backbone_indexes,
    output:
        arrays=f"{RESULTS}/frozen/features/{{features}}.npz",
        manifest=f"{RESULTS}/frozen/features/{{features}}.json",
    log:
        f"{RESULTS}/logs/frozen/features_{{features}}.log",
    conda:
        "../../environment.yml"
    params:
        backbone=backbone_options,
        recipe=lambda wildcards: json.dumps(
            STUDY.frozen.features[wildcards.features].dump()
        ),
        code=features_code,
    shell:
        logged(
            "hsac job features {wildcards.features} {params.backbone} "
            "--output {output.arrays:q}"
        )


rule landscape_over_c:
    input:
        features=problem_features,
    output:
        f"{RESULTS}/frozen/landscape/{{problem}}_{{dim}}.csv",
    log:
        f"{RESULTS}/logs/frozen/landscape_{{problem}}_{{dim}}.log",
    conda:
        "../../environment.yml"
    params:
        problem=lambda wildcards: json.dumps(
            STUDY.frozen.problems[wildcards.problem].drawn()
        ),
        options=lambda wildcards: json.dumps(STUDY.frozen.options()),
        code=landscape_code,
    shell:
        logged(
            "hsac job landscape {wildcards.problem} --dim {wildcards.dim} "
            "--features {input.features:q} --output {output:q}"
        )


rule rules_on_heads:
    input:
        features=problem_features,
    output:
        hypergradients=f"{RESULTS}/frozen/hypergradients/{{problem}}_{{dim}}.csv",
        ends=f"{RESULTS}/frozen/ends/{{problem}}_{{dim}}.csv",
    log:
        f"{RESULTS}/logs/frozen/rules_{{problem}}_{{dim}}.log",
    conda:
        "../../environment.yml"
    params:
        problem=lambda wildcards: json.dumps(
            STUDY.frozen.problems[wildcards.problem].drawn()
        ),
        options=lambda wildcards: json.dumps(
            [STUDY.frozen.options(), STUDY.frozen.rules.dump()]
        ),
        code=rules_code,
    shell:
        logged(
            "hsac job rules {wildcards.problem} --dim {wildcards.dim} "
            "--features {input.features:q} --output {output.hypergradients:q} "
            "--ends {output.ends:q}"
        )
