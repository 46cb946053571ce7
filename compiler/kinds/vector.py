"""What the vector unit does alone: elementwise steps, and sums and extremes of rows."""

from ..emit.vector import lower_vector
from ..operators import Access, Part, Value, Vector
from ..tiling.nest import Nest
from ..tiling.vector import VectorTile, default_vector_tile, vector_nest
from .registry import Kind, register


def _access(fields: dict) -> Access:
    return Access(**{**fields, "outer": tuple(fields["outer"])})


def _value(fields: dict) -> Value:
    access = fields["access"]
    operands = tuple(fields["operands"])
    return Value(**{**fields, "operands": operands, "access": access and _access(access)})


def _part(fields: dict) -> Part:
    return Part(
        tuple(fields["outer"]),
        fields["rows"],
        fields["columns"],
        fields["near"],
        tuple(_value(value) for value in fields["values"]),
        tuple((number, _access(access)) for number, access in fields["stores"]),
    )


def _read(fields: dict) -> Vector:
    shapes = tuple(tuple(shape) for shape in fields["arguments"])
    parts = tuple(map(_part, fields["parts"]))
    return Vector(shapes, tuple(fields["dtypes"]), fields["outputs"], parts)


def _nest(op: Vector, tile: VectorTile, _weights: bytes) -> Nest:
    return vector_nest(op, tile)


register(
    Vector,
    Kind(
        read=_read,
        tile=VectorTile,
        default_tile=default_vector_tile,
        nest=_nest,
        lower=lower_vector,
    ),
)
