"""What the stubs and `fastbce.losses` say about arguments and results.

For type checkers, which take it for imported: importing fastbce does not load it, nor numpy.typing.
"""

from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray


class SupportsDLPack(Protocol):
    """An array that NumPy reads through the DLPack protocol."""

    def __dlpack__(self) -> object: ...
    def __dlpack_device__(self) -> tuple[Any, Any]: ...


Input: TypeAlias = ArrayLike | SupportsDLPack
# An array is one without dimensions.
Number: TypeAlias = float | np.floating[Any] | np.integer[Any] | NDArray[np.floating[Any] | np.integer[Any]]

# The caller knows the dtype of an output. It may be one that NumPy has no type for: bfloat16.
Out: TypeAlias = NDArray[Any] | None
Array: TypeAlias = NDArray[np.floating[Any]]

# The reductions that return a float.
Scalar: TypeAlias = Literal["sum", "mean", "weighted_mean"]
