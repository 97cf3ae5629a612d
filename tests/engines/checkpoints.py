"""Weight files for tests that read only their headers."""

import numpy
from safetensors.numpy import save_file


def save_weights(folder, parameters):
    """Writes half of the parameters in float16, half in float32."""
    half = numpy.zeros(parameters // 2, dtype=numpy.float16)
    save_file({"a": half, "b": half.astype(numpy.float32)[None]}, str(folder / "model.safetensors"))
    return folder
