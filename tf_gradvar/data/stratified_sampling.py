"""The account that a dataset of stratified batches gives of itself."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from tf_gradvar.arguments import check_batches_taken, check_choice
from tf_gradvar.assignments import check_assignments
from tf_gradvar.data.fingerprint import check_same_data
from tf_gradvar.data.resuming import check_state
from tf_gradvar.data.strata_stream import DesignVariables
from tf_gradvar.sampling import Design, DrawingRule

WHEN = ("now", "next_epoch")


class StratifiedSampling:
    """How a dataset of stratified batches draws; its attribute `sampling`.

    Attributes:
        rule: The `tf_gradvar.sampling.DrawingRule`.
        num_clusters: The number of clusters K.
        batch_size: The draws of a batch, B.
        batches_per_epoch: N // B, at least 1, of the examples in the first clusters.
        seed: The seed of every draw.
        batches_taken: Batches that were left out at the start because they were taken
            before.
        variables: What the pipeline reads, and `drawn`, the number of the next batch.
    """

    def __init__(
        self,
        rule: DrawingRule,
        design: Design,
        *,
        seed: int,
        state: Any,
    ):
        self.rule = rule
        self.num_clusters = len(design.sizes)
        self.batch_size = design.batch_size
        self.batches_per_epoch = max(1, len(design.rows) // self.batch_size)
        self.seed = seed
        self._examples = len(design.assignments)
        self._data = design.fingerprint
        self._designs = [design, design]
        self.batches_taken = check_state(state, self.fingerprint(design), "stratified batches")
        self.variables = DesignVariables(design, self._examples, self.batches_taken)

    @property
    def design(self) -> Design:
        """The `tf_gradvar.sampling.Design` of the batch that is drawn next."""
        return self._design_of(self.variables.drawn)

    def fingerprint(self, design: Design | None = None) -> str:
        """Return a short hash of everything that decides what batch number n holds.

        Args:
            design: That of the batch. Defaults to the one of the next batch.
        """
        design = design or self.design
        parts = f"{self._data} {self.seed} {self.num_clusters} {self.batch_size}".encode()
        arrays = (design.rows, design.sizes, design.ticks)
        return hashlib.sha256(parts + b"".join(a.tobytes() for a in arrays)).hexdigest()[:16]

    def state(self, batches_taken: int) -> dict[str, Any]:
        """Return the state after so many batches of this dataset, JSON-plain.

        To go on from it, make the dataset with the assignments that were then in effect, and
        call `reassign` again where a change was waiting for the next epoch.

        Args:
            batches_taken: The batches taken from this dataset (not counting those that it
                left out when it was itself resumed).

        Raises:
            ValueError: If `batches_taken` is not an integer of at least 0.
        """
        total = self.batches_taken + check_batches_taken(batches_taken)
        return {"batches_taken": total, "fingerprint": self.fingerprint(self._design_of(total))}

    def reassign(
        self, assignments: Any, when: str = "now", *, standard_deviations: Any = None
    ) -> None:
        """Draw from other clusters from now on; nothing is traced or built again.

        Batch number n is then what a new dataset of these assignments would hold. With fewer
        clusters than before the batch size stays, and the others share the draws.

        Args:
            assignments: As for `stratified_batches`, of the same data, to at most K clusters.
            when: `"now"` (default) is the next batch that is drawn; `"next_epoch"` the next
                one whose number is a multiple of `batches_per_epoch`.
            standard_deviations: Of the new clusters, for `allocation="neyman"`.

        Raises:
            ValueError: If an argument breaks its rule.
        """
        check_choice("when", when, WHEN)
        checked = read_assignments(assignments, self._examples, self._data)
        design = self.rule.design(checked, self.num_clusters, standard_deviations, self._data)
        epoch = self.batches_per_epoch
        drawn = self.variables.drawn
        before = self.design
        self.variables.follow(design, 0 if when == "now" else -(-drawn // epoch) * epoch)
        self._designs = [before, design]

    def _design_of(self, number: int) -> Design:
        return self._designs[int(number >= self.variables.switch_at)]


def read_assignments(assignments: Any, count: int, data_fingerprint: str | None) -> np.ndarray:
    """Return assignments [N] as int64 without gaps, or raise unless they fit the data."""
    if hasattr(assignments, "assignments"):
        check_same_data("assignments", assignments, data_fingerprint)
    return check_assignments(assignments, count=count)
