"""Jobs that clients keep in the engine."""

import pytest
from ovirtsdk4 import Error, types


def test_a_client_keeps_a_job_with_steps_of_its_own(play):
    async def scenario(lab):
        jobs = lab.system.jobs_service()
        job = await lab.call(jobs.add, types.Job(description="outside"))
        steps = jobs.job_service(job.id).steps_service()
        first = await lab.call(steps.add, types.Step(description="one", type=types.StepEnum.EXECUTING))
        inner = types.Step(
            description="part", type=types.StepEnum.EXECUTING, parent_step=types.Step(id=first.id)
        )
        second = await lab.call(steps.add, inner)
        assert (second.parent_step.id, first.external) == (first.id, True)
        await lab.call(steps.step_service(second.id).end, succeeded=False)
        await lab.call(steps.step_service(first.id).end, succeeded=True)
        found = {step.description: step.status for step in await lab.call(steps.list)}
        assert found == {"one": types.StepStatus.FINISHED, "part": types.StepStatus.FAILED}
        await lab.call(jobs.job_service(job.id).end, succeeded=True)
        assert (await lab.call(jobs.job_service(job.id).get)).status == types.JobStatus.FINISHED

    play(scenario)


def test_the_engines_own_jobs_take_no_steps(play):
    async def scenario(lab):
        await lab.create("web")
        jobs = lab.system.jobs_service()
        (job,) = await lab.call(jobs.list)
        steps = jobs.job_service(job.id).steps_service()
        with pytest.raises(Error, match="External steps can be added only to external jobs"):
            await lab.call(steps.add, types.Step(description="one", type=types.StepEnum.EXECUTING))

    play(scenario)
