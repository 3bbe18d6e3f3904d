"""From a source of reviews to padded batches."""

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]
