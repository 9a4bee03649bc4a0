"""Ways to lay the same numbers out in memory."""

import numpy as np


def misaligned(array):
    """At an odd address."""
    buffer = bytearray(1 + array.nbytes)
    copy = np.frombuffer(buffer, np.uint8)[1:].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def field_of_records(array):
    """Unaligned, at a stride that is no multiple of the item size."""
    records = np.zeros(array.shape, [("pad", "u1"), ("value", array.dtype), ("more", "u2")])
    records["value"] = array
    return records["value"]


def swapped(array):
    """In the other byte order."""
    return array.astype(array.dtype.newbyteorder())


def with_gaps(array):
    """Every third entry along the last axis, every second along the first, of a larger array."""
    large = np.full((array.shape[0] * 2, *array.shape[1:-1], array.shape[-1] * 3), 1, array.dtype)
    if array.ndim == 1:
        large = np.full(array.shape[0] * 6, 1, array.dtype)
        large[1::6] = array
        return large[1::6]
    large[::2, ..., 1::3] = array
    return large[::2, ..., 1::3]


def rows_apart(array):
    """With one column more."""
    large = np.full((*array.shape[:-1], array.shape[-1] + 1), 1, array.dtype)
    large[..., :-1] = array
    return large[..., :-1]


def backwards(array):
    """Negative strides along every axis."""
    turn = (slice(None, None, -1),) * array.ndim
    return array[turn].copy()[turn]


def last_axis_backwards(array):
    return array[..., ::-1].copy()[..., ::-1]


def fortran(array):
    return np.asfortranarray(array)


def axes_rotated(array):
    """No order at all: the first axis is the fastest in memory."""
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(array, 0, -1)), -1, 0)


def one_item_in(array):
    """Aligned to its item size, and to nothing more."""
    buffer = np.empty(array.size + 1, array.dtype)
    buffer[1:] = array.ravel()
    return buffer[1:].reshape(array.shape)


def read_only(array):
    array = array.copy()
    array.setflags(write=False)
    return array


def nested_list(array):
    return array.tolist()


LAYOUTS = [
    misaligned, field_of_records, swapped, with_gaps, backwards, last_axis_backwards, fortran, axes_rotated,
    one_item_in, read_only,
]  # fmt: skip
