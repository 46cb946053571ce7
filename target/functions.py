"""Functions of the vector unit that aren't one operation: the table, and what each costs.

What a function computes is a fixed sequence of IEEE operations on fp32 and of operations on 32-bit
integers, written three times: `runtime.reference.functions` in NumPy, `runtime/src/kernels/functions`
in C++, and `compiler.tir.functions` as TIR. The three agree in every bit. Its numbers stand in
`coefficients.py`. A NaN comes out as 0x7FC00000, whichever went in.
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
_declare("exp", "e**x; 0 and infinity at the infinities")
_declare("exp2", "2**x; powers of two are exact")
_declare("expm1", "e**x - 1; keeps the sign of 0")
_declare("log", "natural logarithm; -infinity at 0, NaN below")
_declare("log2", "logarithm to base 2; that of a power of two is exact")
_declare("log10", "logarithm to base 10")
_declare("log1p", "log(1 + x); keeps the sign of 0; -infinity at -1, NaN below")
_declare("pow", "x**y as C has it: x**0 and 1**y are 1 for all x and y, NaN included; NaN for "
         "negative x and fractional y; signs of zeros and infinities by odd y", _TWO)  # fmt: skip
_declare("sigmoid", "1 / (1 + e**-x)")
_declare("tanh", "hyperbolic tangent; keeps the sign of 0")
_declare("erf", "error function; keeps the sign of 0")
_declare("sin", "sine of any finite x; NaN at the infinities; keeps the sign of 0")
_declare("cos", "cosine of any finite x; NaN at the infinities")
_declare("tan", "tangent of any finite x; NaN at the infinities; keeps the sign of 0")
_declare("sqrt", "square root, rounded correctly; -0 at -0, NaN below", root=1)
_declare("rsqrt", "1 / sqrt(x), two operations; an infinity at a zero, of its sign")
_declare("fabs", "x without its sign bit")
_declare("floor", "the largest whole number up to x", convert=1)
_declare("ceil", "the smallest whole number from x on", convert=1)
_declare("trunc", "x without its fraction", convert=1)
_declare("nearbyint", "the nearest whole number, of two the even one", convert=1)
_declare("min", "x if x < y, else y: y where either is NaN", _TWO, select=2)
_declare("max", "x if x > y, else y: y where either is NaN", _TWO, select=2)
_declare("float32_to_int32", "towards 0, saturated; 0 for NaN", output="int32")
_declare("float32_to_int8", "towards 0, saturated; 0 for NaN", output="int8")
_declare("float32_to_bool", "whether x isn't 0; true for NaN", output="bool", select=1)
_declare("int32_to_float32", "rounded to nearest, of two to even", ("int32",), convert=1)
_declare("int8_to_float32", "exact", ("int8",), convert=1)
_declare("bool_to_float32", "0 or 1", ("bool",), convert=1)
_declare("int32_to_int8", "the lowest 8 bits", ("int32",), "int8", integer=1)
