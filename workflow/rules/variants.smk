rule variant:
    input:
        settings=ancient(SETTINGS_FILE),
        raw=f"{layout.data_root()}/raw/{{dataset}}/manifest.json",
    output:
        f"{layout.data_root()}/variants/{{dataset}}/{{variant}}.json",
    log:
        f"{layout.data_root()}/logs/{{dataset}}_{{variant}}.log",
    conda:
        "../../environment.yml"
    params:
        experiment=lambda wildcards, output: VARIANTS[output[0]],
        code=lambda wildcards, output: recipe_code(VARIANTS[output[0]]),
    shell:
        "hsac variant --settings {input.settings:q} --experiment {params.experiment} --output {output:q} " + LOGGED
