"""The one way in which inner kernels are compiled: exact floating point, division as in IEEE 754, no disk cache.

Only the entry points (`kernels.batch`) are cached on disk. Numba notices a change of the file of a cached function but
not of the functions it calls from other files; these have no cache of their own that could go stale.
"""

from numba import njit

OPTIONS = {"error_model": "numpy", "fastmath": False, "boundscheck": False, "no_cpython_wrapper": True,
           "no_cfunc_wrapper": True}
inner = njit(**OPTIONS)
# For what is called once an image or more often: a call hands on every field of every array, which costs more than the
# small images' work.
inlined = njit(forceinline=True, **OPTIONS)
