from typing import Any

from numpy.typing import NDArray

def _converted(value: object, name: str) -> NDArray[Any]: ...
