rule variant:
    input:
        f"{layout.data_root()}/raw/{{dataset}}/manifest.json",
    output:
        f"{layout.data_root()}/variants/{{dataset}}/{{variant}}.json",
    log:
        f"{layout.data_root()}/logs/{{dataset}}_{{variant}}.log",
    conda:
        "../../environment.yml"
    params:
        recipe=lambda wildcards, output: json.dumps(VARIANTS[output[0]]["variant"]),
        code=lambda wildcards, output: recipe_code(
            VARIANTS[output[0]]["variant"]["recipe"]
        ),
    shell:
        "hsac variant {wildcards.dataset:q} --recipe {params.recipe:q} --output {output:q}"
        " > {log:q} 2>&1 || {{ cat {log:q} >&2; exit 2; }}"
