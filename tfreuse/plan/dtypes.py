"""NumPy's types by name, and those that NumPy lacks: bfloat16 and float8."""

import numpy as np

_OF_ML_DTYPES = ("bfloat16", "float8_e4m3fn", "float8_e5m2")


def numpy_type(name: str) -> np.dtype:
    """Returns the type of a name; ml_dtypes is imported only for a type of its own."""
    if name in _OF_ML_DTYPES:
        import ml_dtypes  # comes with TensorFlow; seldom needed

        return np.dtype(getattr(ml_dtypes, name))
    return np.dtype(name)
