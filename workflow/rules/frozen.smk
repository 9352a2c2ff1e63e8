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
