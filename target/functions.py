"""Functions of the vector unit that aren't one operation: the table, and what each costs.

What a function computes is a fixed sequence of IEEE operations on fp32 and of operations on 32-bit
integers, written three times: in NumPy in `runtime.reference.functions`, in C++ in
`runtime/src/kernels/functions`, and as TIR in `compiler.tir.functions`. The three agree in every
bit. The numbers in it stand in `coefficients.py`. A NaN comes out as 0x7FC00000, whichever went in,
but of `min` and `max`, which hand on their second operand, and of `fabs`.
"""

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Operations:
    """How many operations of each class a lane takes; chosen values count as one, never a branch.

    Attributes
    ----------
    add, multiply, divide, root : int
        Of fp32: sums and differences, products, quotients, square roots.
    integer : int
        Sums, differences, shifts, and bits of 32-bit integers.
    product : int
        Of 32-bit integers, of which 64 bits are kept.
    select : int
        Comparisons of any kind, and choices between two values.
    convert : int
        Between fp32 and integers, and roundings to whole numbers.
    """

    add: int = 0
    multiply: int = 0
    divide: int = 0
    root: int = 0
    integer: int = 0
    product: int = 0
    select: int = 0
    convert: int = 0

    @property
    def total(self) -> int:
        """All operations, whatever they cost."""
        return sum(getattr(self, field.name) for field in fields(self))


@dataclass(frozen=True)
class VectorFunction:
    """One function.

    Attributes
    ----------
    name : str
        That of TVM's operator without ``tirx.`` where it has one.
    inputs, output : tuple of str, str
        Types of elements.
    text : str
        What it gives, special values and all.
    operations : Operations
        A test counts them in the TIR.
    """

    name: str
    inputs: tuple[str, ...]
    output: str
    text: str
    operations: Operations

    @property
    def symbol(self) -> str:
        """Its name in C++."""
        return "".join(part.capitalize() for part in self.name.split("_"))


FUNCTIONS: dict[str, VectorFunction] = {}


def _declare(name: str, text: str, inputs: tuple = ("float32",), output="float32", **operations):
    FUNCTIONS[name] = VectorFunction(name, inputs, output, text, Operations(**operations))


_TWO = ("float32", "float32")
_declare("exp", "e**x; 0 and infinity at the infinities", add=17, multiply=12, integer=8, select=6)
_declare("exp2", "2**x; powers of two are exact", add=16, multiply=12, integer=10, select=6)
_declare("expm1", "e**x - 1; keeps the sign of 0", add=18, multiply=12, integer=14, select=8)
_declare(
    "log",
    "natural logarithm; -infinity at 0, NaN below",
    add=13,
    multiply=15,
    integer=7,
    select=11,
    convert=1,
)
_declare(
    "log2",
    "logarithm to base 2; that of a power of two is exact",
    add=28,
    multiply=16,
    divide=2,
    integer=12,
    select=11,
    convert=1,
)
_declare(
    "log10", "logarithm to base 10", add=29, multiply=19, divide=2, integer=12, select=11, convert=1
)
_declare(
    "log1p",
    "log(1 + x); keeps the sign of 0; -infinity at -1, NaN below",
    add=20,
    multiply=16,
    divide=1,
    integer=13,
    select=13,
    convert=1,
)
_declare(
    "pow",
    "x**y as C has it: 1 where y is 0 or x is 1, NaN or not; NaN for x < 0, fractional y",
    _TWO,
    add=50,
    multiply=32,
    divide=2,
    integer=29,
    select=34,
    convert=3,
)
_declare("sigmoid", "1 / (1 + e**-x)", add=24, multiply=14, divide=1, integer=14, select=8)
_declare(
    "tanh",
    "hyperbolic tangent; keeps the sign of 0",
    add=27,
    multiply=23,
    divide=1,
    integer=12,
    select=8,
)
_declare("erf", "error function; keeps the sign of 0", add=32, multiply=27, integer=13, select=8)
_declare(
    "sin",
    "sine of any finite x; NaN at the infinities; keeps the sign of 0",
    add=22,
    multiply=22,
    integer=53,
    product=3,
    select=53,
    convert=14,
)
_declare(
    "cos",
    "cosine of any finite x; NaN at the infinities",
    add=22,
    multiply=22,
    integer=51,
    product=3,
    select=51,
    convert=14,
)
_declare(
    "tan",
    "tangent of any finite x; NaN at the infinities; keeps the sign of 0",
    add=28,
    multiply=23,
    divide=2,
    integer=51,
    product=3,
    select=56,
    convert=14,
)
_declare("sqrt", "square root, rounded correctly; -0 at -0, NaN below", root=1, integer=1, select=2)
_declare(
    "rsqrt",
    "1 / sqrt(x), two operations; an infinity at a zero, of its sign",
    divide=1,
    root=1,
    integer=1,
    select=2,
)
_declare("fabs", "x without its sign bit", integer=1)
_declare("floor", "the largest whole number up to x", integer=1, select=2, convert=1)
_declare("ceil", "the smallest whole number from x on", integer=1, select=2, convert=1)
_declare("trunc", "x without its fraction", integer=1, select=2, convert=1)
_declare(
    "nearbyint", "the nearest whole number, of two the even one", integer=1, select=2, convert=1
)
_declare("min", "x if x < y, else y: y where either is NaN", _TWO, select=2)
_declare("max", "x if x > y, else y: y where either is NaN", _TWO, select=2)
_declare(
    "float32_to_int32",
    "towards 0, saturated; 0 for NaN",
    output="int32",
    integer=1,
    select=8,
    convert=1,
)
_declare(
    "float32_to_int8",
    "towards 0, saturated; 0 for NaN",
    output="int8",
    integer=1,
    select=6,
    convert=2,
)
_declare("float32_to_bool", "whether x isn't 0; true for NaN", output="bool", select=1)
_declare("int32_to_float32", "rounded to nearest, of two to even", ("int32",), convert=1)
_declare("int8_to_float32", "exact", ("int8",), convert=1)
_declare("bool_to_float32", "0 or 1", ("bool",), convert=1)
_declare("int32_to_int8", "the lowest 8 bits", ("int32",), output="int8", convert=1)
