"""Operators as tensor expressions.

Without a tile an expression reads its arguments directly: that PrimFunc is the reference, run
by LLVM. With a tile, every transfer between memories is a stage of its own, padded to whole
tiles, so that a schedule can place it; both compute the same numbers.
"""

from tvm import te, tirx

from ...target.formats import MACRO_BLOCK
from ..operators import ATTRIBUTE, Gemm, to_attribute
from ..tiling.gemm import gemm_nest
from ..tiling.tile import GemmTile
from .quantize import exponent_bits, exponent_of, power_of_two, quantized
from .sizes import Extents

# fp32 sum that starts at -0.0, the only start that changes no first summand, not even -0.0.
_ordered_sum = te.comm_reducer(
    lambda a, b: a + b, lambda dtype: tirx.const(-0.0, dtype), name="ordered_sum"
)


def gemm(op: Gemm, tile: GemmTile | None = None) -> tirx.PrimFunc:
    """Return the PrimFunc of a GEMM.

    Parameters, in order: x int8, x exponents int8, w (int32, or int8 at run time), w scale
    (fp32, or int8 exponents), bias, residual; then the output, or int8 rows and exponents.
    Of integers x and w alone, and the output.
    """
    return _GemmBuilder(op, tile).build()


class _GemmBuilder:
    """Builds the stages; names of stages are what schedules and the emitter look up."""

    def __init__(self, op: Gemm, tile: GemmTile | None):
        self.tile, self.nest, self.attribute = tile, gemm_nest(op, tile), to_attribute(op)
        self.group = self.nest.axes["kk"].extent
        self.block = self.nest.axes["nj"].extent
        self.padded = tile is not None and self.nest.axes["m"].extent > op.m
        self.extents = Extents()
        self.op: Gemm = self.extents(op)
        self.arguments: list[te.Tensor] = []

    def argument(self, name, shape, dtype):
        tensor = te.placeholder(shape, dtype, name)
        self.arguments.append(tensor)
        return tensor

    def shape(self, stage):
        """Return the shape of a stage's result."""
        return self.extents(self.nest.shape(stage))

    def staged(self, name, body, inside):
        """Return body, as a padded stage when tiled, guarded where it would read outside."""

        def guarded(*index):
            value = body(*index)
            zero = tirx.const(0, value.dtype)
            return tirx.if_then_else(tirx.all(*inside(*index)), value, zero)

        shape = self.shape(name)
        compute = guarded if inside(*[te.var() for _ in shape]) else body
        return te.compute(shape, compute, name=name) if self.tile else compute

    def k_inside(self, g, kk):
        """Conditions that hold for a real input channel, none when all are."""
        op = self.op
        if isinstance(op.k, int) and op.k % self.group == 0 and self.group <= op.group:
            return []
        conditions = [kk < op.group] if self.group > op.group else []
        return [*conditions, g * op.group + kk < op.k]

    def n_inside(self, nb, nj):
        op = self.op
        if isinstance(op.n, int) and op.n % self.block == 0 and self.block <= MACRO_BLOCK:
            return []
        return [nb * MACRO_BLOCK + nj < op.n]

    def m_inside(self, m):
        return [m < self.op.m] if self.padded else []

    def x_stage(self):
        op = self.op
        if not op.conv:
            x = self.argument("x", (op.batch, op.m, op.k), "int8")
            return self.staged(
                "x_tile",
                lambda i, c, g, m, kk: x[i, m, g * op.group + kk],
                lambda i, c, g, m, kk: self.m_inside(m) + self.k_inside(g, kk),
            )
        conv = op.conv
        channels = op.conv_groups * conv.channels
        x = self.argument("x", (op.batch, channels, conv.height, conv.width), "int8")

        def position(m, g, kk):
            k = g * op.group + kk
            taps = conv.kernel_h * conv.kernel_w
            row = m // conv.out_width * conv.stride_h + k // conv.kernel_w % conv.kernel_h * (
                conv.dilation_h
            )
            col = m % conv.out_width * conv.stride_w + k % conv.kernel_w * conv.dilation_w
            return k // taps, row - conv.pad_top, col - conv.pad_left

        def read(i, c, g, m, kk):
            channel, row, col = position(m, g, kk)
            return x[i, c * conv.channels + channel, row, col]

        def inside(i, c, g, m, kk):
            _, row, col = position(m, g, kk)
            limits = self.m_inside(m) + self.k_inside(g, kk)
            return [*limits, row >= 0, row < conv.height, col >= 0, col < conv.width]

        return self.staged("x_tile", read, inside)

    def x_exponent_stage(self):
        """Return e(i, c, m, nj, g)."""
        op = self.op
        if op.integers:
            return _nothing
        e, beside = self.argument("x_exponent", op.x_exponents, "int8"), op.side_by_side
        if beside > 1:
            stage = self.staged("x_exponent_tile", lambda i, c, s: e[i, c * beside + s], _nothing)
            # Tiles are padded behind the last one's columns.
            return lambda i, c, m, nj, g: stage(i, c, tirx.min(nj // (op.n // beside), beside - 1))
        if op.by_image:
            stage = self.staged("x_exponent_tile", lambda i, c: e[i, c], _nothing)
            return lambda i, c, m, nj, g: stage(i, c)
        stage = self.staged(
            "x_exponent_tile",
            lambda i, m, g: e[i, m, g],
            lambda i, m, g: self.m_inside(m),
        )
        return lambda i, c, m, nj, g: stage(i, m, g)

    def w_stages(self):
        """Return w(i, c, nb, nj, g, kk) and scale(i, c, nb, nj, g) in fp32."""
        op = self.op
        lead = op.conv_groups if op.weight_format else op.batch
        dtype = "int32" if op.weight_format else "int8"
        w = self.argument("w", (lead, op.n, op.k), dtype)
        w_tile = self.staged(
            "w_tile",
            lambda b, nb, g, nj, kk: w[b, nb * MACRO_BLOCK + nj, g * op.group + kk],
            lambda b, nb, g, nj, kk: self.n_inside(nb, nj) + self.k_inside(g, kk),
        )
        if op.integers:
            if op.weight_format:
                return lambda i, c, nb, nj, g, kk: w_tile(c, nb, g, nj, kk), _nothing
            return lambda i, c, nb, nj, g, kk: w_tile(i, nb, g, nj, kk), _nothing
        if op.weight_format:
            s = self.argument("w_scale", (lead, op.groups, op.n), "float32")
            s_tile = self.staged(
                "w_scale_tile",
                lambda c, nb, g, nj: s[c, g, nb * MACRO_BLOCK + nj],
                lambda c, nb, g, nj: self.n_inside(nb, nj),
            )
            return (
                lambda i, c, nb, nj, g, kk: w_tile(c, nb, g, nj, kk),
                lambda i, c, nb, nj, g: s_tile(c, nb, g, nj),
            )
        s = self.argument("w_exponent", (lead, op.n, op.groups), "int8")
        s_tile = self.staged(
            "w_exponent_tile",
            lambda i, nb, nj, g: s[i, nb * MACRO_BLOCK + nj, g],
            lambda i, nb, nj, g: self.n_inside(nb, nj),
        )
        return (
            lambda i, c, nb, nj, g, kk: w_tile(i, nb, g, nj, kk),
            lambda i, c, nb, nj, g: power_of_two(s_tile(i, nb, nj, g)),
        )

    def output_index(self, i, c, m, n):
        """Return the index of an element in the output's layout."""
        op = self.op
        if not op.conv:
            return i, m, n
        return i, c * op.n + n, m // op.conv.out_width, m % op.conv.out_width

    def epilogue(self, y, shape):
        op = self.op
        if op.bias:
            bias = self.argument("bias", (op.conv_groups * op.n,), "float32")
            tile = self.staged(
                "bias_tile",
                lambda c, nb, nj: bias[c * op.n + nb * MACRO_BLOCK + nj],
                lambda c, nb, nj: self.n_inside(nb, nj),
            )
            y = _elementwise("y_bias", shape, lambda p, y=y: y(*p) + tile(p[1], p[2], p[4]))
        if op.residual:
            residual = self.argument("residual", op.output_shape, "float32")
            tile = self.staged(
                "residual_tile",
                lambda i, c, nb, m, nj: residual[self.output_index(i, c, m, nb * MACRO_BLOCK + nj)],
                lambda i, c, nb, m, nj: self.m_inside(m) + self.n_inside(nb, nj),
            )
            y = _elementwise("y_residual", shape, lambda p, y=y: y(*p) + tile(*p))
        if op.clamps:
            y = _elementwise("y_clamp", shape, lambda p, y=y: _clamp(y(*p), op.low, op.high))
        return y

    def build(self) -> tirx.PrimFunc:
        op = self.op
        x, x_exponent = self.x_stage(), self.x_exponent_stage()
        w, w_scale = self.w_stages()
        shape = self.shape("y")
        kk = te.reduce_axis((0, self.group), "kk")
        psum = te.compute(
            self.shape("psum_init"),
            lambda i, c, g, nb, m, nj: te.sum(
                x(i, c, g, m, kk).astype("int32") * w(i, c, nb, nj, g, kk).astype("int32"), axis=kk
            ),
            name="psum",
        )
        g = te.reduce_axis((0, op.groups), "g")

        def total(i, c, nb, m, nj):
            one = psum[i, c, g, nb, m, nj]
            if op.integers:
                return te.sum(one, axis=g)
            scaled = one.astype("float32") * w_scale(i, c, nb, nj, g)
            return _ordered_sum(scaled * power_of_two(x_exponent(i, c, m, nj, g)), axis=g)

        y = te.compute(shape, total, name="y")
        y = self.epilogue(y, shape)
        outputs = self.requantized(y, shape) if op.requantize else [self.stored(y, shape)]
        function = te.create_prim_func([*self.arguments, *outputs])
        return function.with_attr(ATTRIBUTE, self.attribute)

    def stored(self, y, shape):
        op = self.op
        if self.tile:
            return te.compute(shape, lambda *p: y(*p), name="out")
        if not op.conv:
            return te.compute(
                op.output_shape,
                lambda i, m, n: y(i, 0, n // MACRO_BLOCK, m, n % MACRO_BLOCK),
                name="out",
            )
        width = op.conv.out_width

        def pixel(i, channel, row, col):
            n = channel % op.n
            return y(i, channel // op.n, n // MACRO_BLOCK, row * width + col, n % MACRO_BLOCK)

        return te.compute(op.output_shape, pixel, name="out")

    def requantized(self, y, shape):
        """Quantize rows of the result in groups of 128, as the next operator would read them."""
        op = self.op
        nj = te.reduce_axis((0, self.block), "nj")

        def row_bits(i, c, nb, m):
            bits = exponent_bits(y(i, c, nb, m, nj))
            inside = self.n_inside(nb, nj)
            bits = tirx.if_then_else(tirx.all(*inside), bits, 0) if inside else bits
            return te.max(bits, axis=nj)

        rows = self.shape("bits")
        bits = te.compute(rows, row_bits, name="bits")
        exponent = te.compute(
            rows, lambda *p: exponent_of(bits(*p), op.activation), name="exponent"
        )

        def code(i, c, nb, m, nj):
            return quantized(y(i, c, nb, m, nj), exponent(i, c, nb, m), op.activation)

        q = te.compute(shape, code, name="q")
        if self.tile:
            return [
                te.compute(shape, lambda *p: q(*p), name="out"),
                te.compute(rows, lambda *p: exponent(*p), name="out_exponent"),
            ]
        return [
            te.compute(
                op.output_shape,
                lambda i, m, n: q(i, 0, n // MACRO_BLOCK, m, n % MACRO_BLOCK),
                name="out",
            ),
            te.compute(
                (op.batch, op.m, op.column_blocks),
                lambda i, m, nb: exponent(i, 0, nb, m),
                name="out_exponent",
            ),
        ]


def _nothing(*_):
    return []


def _elementwise(name, shape, body):
    return te.compute(shape, lambda *p: body(p), name=name)


def _clamp(value, low, high):
    """Return the machine's clamp: a comparison that keeps -0.0 and NaN as they are."""
    if low is not None:
        bound = tirx.const(low, "float32")
        value = tirx.Select(value < bound, bound, value)
    if high is not None:
        bound = tirx.const(high, "float32")
        value = tirx.Select(value > bound, bound, value)
    return value
