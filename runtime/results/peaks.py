"""What the array could do at most, by weight format."""

from ...target.arch import slot_bits
from ...target.formats import BY_CODE, WEIGHT_FORMATS
from ...target.isa.instructions import Preload, PreloadRows
from ...target.isa.program import Function, Program

NO_FORMAT = ""
RUN_TIME_FORMAT = "int8"
"""Of an operand that is quantized while the model runs."""


def weight_format(function: Function) -> str:
    """Return the format of what a function loads into the array, "" if it loads nothing."""
    for instruction in function.code:
        if isinstance(instruction, Preload):
            return BY_CODE[instruction.format].name
        if isinstance(instruction, PreloadRows):
            return RUN_TIME_FORMAT
    return NO_FORMAT


def peak_macs(function: Function, numbers: dict[str, int]) -> int:
    """Return the multiply-accumulates per cycle of the array in a function's weight format.

    Parameters
    ----------
    numbers : dict of str to int
        The architecture's integer keys.
    """
    name = weight_format(function)
    bits = WEIGHT_FORMATS[name].bits if name else numbers["pe_weight_bits"]
    columns = numbers["array_cols"]
    if numbers["multi_precision"]:
        columns = columns * numbers["pe_weight_bits"] // slot_bits(bits)
    return numbers["array_rows"] * columns


def described(records: list[dict], program: Program) -> list[dict]:
    """Return call records with the format of each one's weights and the array's peak in it.

    What a program's product holds beside groups that are side by side is no work of the model's.
    """
    known = {
        name: {
            "weight_format": weight_format(function),
            "peak_macs": peak_macs(function, program.arch_numbers),
        }
        for name, function in program.functions.items()
    }
    return [
        {**_without_zeros(record, program.functions[record["name"]].macs), **known[record["name"]]}
        for record in records
    ]


def _without_zeros(record: dict, macs: int) -> dict:
    zeros = max(0, record["macs"] - macs) if macs else 0
    return {**record, "macs": record["macs"] - zeros, "zero_macs": zeros}
