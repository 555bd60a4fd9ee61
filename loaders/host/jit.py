"""How inner kernels are compiled: exact floating point, division as in IEEE 754, no disk cache.

Only the entry points (`loaders.host.batch`) are cached on disk. Numba notices a change in the file of a cached function
but not in those of the functions it calls; these have no cache of their own that could go stale.
"""

from numba import njit

OPTIONS = {"error_model": "numpy", "fastmath": False, "boundscheck": False, "no_cpython_wrapper": True,
           "no_cfunc_wrapper": True}
inner = njit(**OPTIONS)
# For what is called at least once per image: a call passes every field of every array, which costs more than the work
# on a small image.
inlined = njit(forceinline=True, **OPTIONS)
