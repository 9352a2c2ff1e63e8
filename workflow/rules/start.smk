import os
import sys

from hsac.ops import slurm_arrays, workflow_run
from snakemake.settings.enums import Quietness

# a task of a job array begins as the first task's job
slurm_arrays.become_own_call(sys.argv, os.environ)

RUN = workflow_run.open_run(config, workflow.config_settings.config_args)
os.environ.update(RUN.environment())  # for the jobs

if workflow.is_main_process:
    quiet = {Quietness.RULES, Quietness.PROGRESS} <= set(
        workflow.output_settings.quiet or ()
    )
    RUN.prepare(
        quiet,
        is_dry=lambda: workflow.dryrun,
        executes=lambda: workflow.executor_plugin is not None and not workflow.touch,
    )


onstart:
    RUN.start(
        lock=workflow.execution_settings.lock,
        status_command=getattr(workflow.executor_settings, "status_command", None),
    )


onsuccess:
    RUN.succeed()


onerror:
    RUN.fail(log)
