"""A report on gradients: how noisy they are, why, and what would help."""

import tf_gradvar.per_example  # noqa: F401 (first: it says which backend is needed)
from tf_gradvar.diagnosis.diagnosing import diagnose
from tf_gradvar.diagnosis.over_training import Diagnose
from tf_gradvar.diagnosis.report import Diagnosis

__all__ = ["Diagnose", "Diagnosis", "diagnose"]
