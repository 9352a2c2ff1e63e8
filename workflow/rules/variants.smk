rule variant:
    input:
        variant_inputs,
    output:
        f"{layout.data_root()}/variants/{{dataset}}/{{variant}}.json",
    log:
        f"{layout.data_root()}/logs/{{dataset}}_{{variant}}.log",
    conda:
        "../../environment.yml"
    params:
        recipe=lambda wildcards, output: json.dumps(VARIANTS[output[0]]["variant"]),
        code=lambda wildcards, output: fingerprint.of_variant(
            VARIANTS[output[0]]["variant"]
        ),
    shell:
        logged(
            "hsac job variant {wildcards.dataset:q} --recipe {params.recipe:q} "
            "--output {output:q}"
        )
