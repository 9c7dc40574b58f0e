"""Memory that was freed stays with the process, for its next tensors. Imports nothing heavy."""

import ctypes
import functools
import os
import platform

TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3  # of glibc's mallopt
AT_MOST = 2**31 - 1  # that it takes
LARGEST_KEPT = (1 << 30, 32 << 20)  # bytes of a tensor; older versions of glibc refuse the first
USERS_OWN = ("MALLOC_", "GLIBC_TUNABLES")


@functools.cache
def keep_freed_memory() -> bool:
    """Asks glibc, once, to keep what is freed for what is allocated next; whether it was asked.

    As it is set up, it maps each larger tensor anew and gives it back when freed, and the system then clears the same
    pages again and again: nearly half of the processor time of sampling on virtual machines, an eighth of a training
    step's. Where the user has set glibc's own variables, or the C library is another, nothing changes.
    """
    if platform.libc_ver()[0] != "glibc" or any(name.startswith(USERS_OWN) for name in os.environ):
        return False
    libc = ctypes.CDLL(None)
    if not any(libc.mallopt(MMAP_THRESHOLD, size) for size in LARGEST_KEPT):
        return False  # the others alone would do harm: with any of them glibc no longer learns what sizes come again
    return bool(libc.mallopt(TRIM_THRESHOLD, AT_MOST) and libc.mallopt(TOP_PAD, 64 << 20))
