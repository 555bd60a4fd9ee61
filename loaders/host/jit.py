"""The compile options of inner kernels: exact floating point, IEEE 754 division, no disk cache.

Only the entry points (`loaders.host.batch`) are cached on disk. Numba notices a change in the file of a cached function
but not in the files of functions it calls, so caches of inner kernels could be stale.
"""

from numba import njit

OPTIONS = {"error_model": "numpy", "fastmath": False, "boundscheck": False, "no_cpython_wrapper": True,
           "no_cfunc_wrapper": True}
inner = njit(**OPTIONS)
# For functions called at least once per image: a call passes every field of every array, which costs more than the
# work on a small image.
inlined = njit(forceinline=True, **OPTIONS)
