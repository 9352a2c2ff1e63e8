rule settings:
    output:
        SETTINGS_FILE,
    log:
        f"{RESULTS}/logs/settings.log",
    conda:
        "../../environment.yml"
    params:
        scale=SCALE,
        override=json.dumps(OVERRIDE),
        digest=digest(STUDY.dump()),
    shell:
        logged(
            "hsac job settings --scale {params.scale:q} --override {params.override:q} "
            "--output {output:q}"
        )


rule fetch:
    output:
        f"{DATA['raw']}/{{dataset}}/manifest.json",
    log:
        f"{DATA['logs']}/{{dataset}}.log",
    conda:
        "../../environment.yml"
    params:
        code=lambda wildcards: fingerprint.of_data(wildcards.dataset),
    shell:
        logged("hsac data fetch {wildcards.dataset:q}")


rule picture:
    input:
        f"{DATA['raw']}/{{dataset}}/manifest.json",
    output:
        png=report(
            f"{RESULTS}/data/{{dataset}}.png",
            category="Data",
            labels={"dataset": "{dataset}"},
            caption="../report/data.rst",
        ),
        pdf=f"{RESULTS}/data/{{dataset}}.pdf",
        json=f"{RESULTS}/data/{{dataset}}.json",
    log:
        f"{RESULTS}/logs/data/{{dataset}}.log",
    conda:
        "../../environment.yml"
    params:
        code=fingerprint.of_modules(["hsac.report.pictures"]),
    shell:
        logged("hsac data info {wildcards.dataset:q} --picture {output.png:q}")
