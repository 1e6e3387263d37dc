"""A study of gradient variance: one trajectory on a problem."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from keras_apps.experiments.training_problem import ProblemDefinition
from keras_apps.experiments.trajectory import Trajectory


@dataclasses.dataclass(slots=True)
class Study:
    """A trajectory on a problem, with a page of its own.

    Attributes:
        title: What the report is headed with.
        problem: The data, the strata and the model.
        trajectory: How the model is trained and when it is measured.
    """

    command: ClassVar[str] = "keras_apps.study"

    title: str
    problem: ProblemDefinition
    trajectory: Trajectory = dataclasses.field(default_factory=Trajectory)

    def check(self) -> None:
        """Refuse what cannot be run; called after all changes from the command line.

        Raises:
            ValueError: Fields that do not go together.
        """
        self.trajectory.check("trajectory")
