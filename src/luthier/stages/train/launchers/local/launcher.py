"""The local launcher at run time: nothing is started, the worker's one function is called."""

from __future__ import annotations

from luthier.foundation.schema.protocols import Context
from luthier.stages.train.interrupt import Interrupts
from luthier.stages.train.job import Job, Outcome
from luthier.stages.train.worker import run_worker


class LocalLauncher:
    """Train here."""

    def run(self, job: Job, ctx: Context, interrupts: Interrupts) -> Outcome:
        """Train in this process.

        Raises:
            TrainError: As the loop does.
            Interrupted: After a signal; the state is saved.
        """
        return run_worker(job, ctx, interrupts)


PLUGIN = LocalLauncher()
