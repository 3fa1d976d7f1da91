#!/usr/bin/env python3
"""Holds a file that `rlx quantize` wrote against its source, by the gguf package (pip install gguf).

    python3 tests/quantize/check_gguf.py IN.gguf OUT.gguf

Names, shapes and metadata are the source's, but for what quantizing decides; each tensor's values, decoded by the
package, are near the source's, and where the package has a quantizer for the type, no farther than what that makes.
Prints each tensor's error (root of the mean square, relative). Exit code 1 when something is wrong.
"""
import sys

import numpy as np
from gguf import GGUFReader, GGMLQuantizationType
from gguf.quants import dequantize, quantize

OWN = {"general.file_type", "general.quantization_version", "quantize.imatrix.entries_count"}
DROPPED = OWN | {"general.alignment", "split.count", "split.no", "split.tensors.count"}


def values(tensor):
    return dequantize(tensor.data, tensor.tensor_type).astype(np.float64)


def error(x, y):
    scale = np.sqrt(np.mean(x * x))
    return np.sqrt(np.mean((x - y) ** 2)) / scale if scale else float(np.abs(y).max())


def check_metadata(source, result):
    wrong = []
    keys = lambda r: {k for k in r.fields if not k.startswith("GGUF.")}
    for key in sorted(keys(source) - DROPPED | keys(result) - OWN):
        a, b = source.fields.get(key), result.fields.get(key)
        if a is None or b is None or a.types != b.types or a.contents() != b.contents():
            wrong.append(f"metadata {key} differs")
    return wrong


def reference(x, kind):
    """The package's own blocks, decoded; None where it has no quantizer."""
    try:
        return dequantize(quantize(x.astype(np.float32), kind), kind).astype(np.float64)
    except NotImplementedError:
        return None


def check_tensor(a, b):
    x, y = values(a), values(b)
    if list(a.shape) != list(b.shape):
        return f"{b.name}: shape {list(b.shape)}, not {list(a.shape)}"
    is_, theirs = error(x, y), reference(x, b.tensor_type)
    best = error(x, theirs) if theirs is not None else None
    note = f"  package {best:.6f}" if best is not None else ""
    print(f"{b.name:32} {b.tensor_type.name:8} {is_:.6f}{note}")
    bits = min(8, 8 * b.n_bytes / b.n_elements)  # of floats the exponent counts for nothing
    if not np.isfinite(y).all() or is_ > 1.5 * 2 ** (-bits / 1.2):
        return f"{b.name}: error {is_:.6f} of {bits:.2f} bits"
    if best is not None and is_ > best * (1 + 1e-6):
        return f"{b.name}: error {is_:.6f}, the package's is {best:.6f}"
    return None


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    source, result = GGUFReader(sys.argv[1]), GGUFReader(sys.argv[2])
    wrong = check_metadata(source, result)
    sources = {t.name: t for t in source.tensors}
    if set(sources) != {t.name for t in result.tensors}:
        wrong.append("other tensors than the source's")
    for t in result.tensors:
        if t.name in sources:
            wrong.append(check_tensor(sources[t.name], t))
    wrong = [w for w in wrong if w]
    print("\n".join(wrong) if wrong else f"{len(result.tensors)} tensors are as they should be")
    sys.exit(bool(wrong))


main()
