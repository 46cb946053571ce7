"""Sums of blocks of inputs whose weights have scales of their own."""

from tvm import te, tirx

from .quantize import power_of_two


def scaled_blocks(blocks: int, rows: int, columns: int) -> tirx.PrimFunc:
    """Return the PrimFunc that scales and adds a product's integer sums, in ascending order.

    Parameters, in order: fp32 sums ``(1, blocks * columns, rows, 1)``, int8 exponents of
    activations ``(rows, blocks)``, fp32 scales ``(blocks, columns)``; then ``(rows, columns)``.
    """
    sums = te.placeholder((1, blocks * columns, rows, 1), "float32", "sums")
    exponent = te.placeholder((rows, blocks), "int8", "exponent")
    scale = te.placeholder((blocks, columns), "float32", "scale")
    b = te.reduce_axis((0, blocks), "b")

    def total(m, n):
        one = sums[0, b * columns + n, m, 0] * scale[b, n] * power_of_two(exponent[m, b])
        return te.sum(one, axis=b)

    out = te.compute((rows, columns), total, name="out")
    return te.create_prim_func([sums, exponent, scale, out])
