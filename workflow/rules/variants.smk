rule variant:
    input:
        inputs_of_variant,
    output:
        f"{DATA['variants']}/{{dataset}}/{{variant}}.json",
    log:
        f"{DATA['logs']}/{{dataset}}_{{variant}}.log",
    conda:
        "../../environment.yml"
    params:
        recipe=lambda wildcards, output: json.dumps(VARIANTS[output[0]].variant.dump()),
        code=lambda wildcards, output: fingerprint.of_variant(
            VARIANTS[output[0]].variant.dump()
        ),
    shell:
        logged(
            "hsac job variant {wildcards.dataset:q} --recipe {params.recipe:q} "
            "--output {output:q}"
        )
