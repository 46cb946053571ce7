"""What the array could do at most, by weight format."""

from ...target.arch import row_cycles, slot_bits
from ...target.formats import BY_CODE, WEIGHT_FORMATS
from ...target.isa.instructions import Preload, PreloadRows
from ...target.isa.program import Program
from ...target.isa.spec import Instruction

NO_FORMAT = ""
RUN_TIME_FORMAT = "int8"
"""Of an operand that is quantized while the model runs."""


Code = tuple[Instruction, ...]


def weight_format(code: Code) -> str:
    """Return the format of what instructions load into the array, "" if they load nothing."""
    for instruction in code:
        if isinstance(instruction, Preload):
            return BY_CODE[instruction.format].name
        if isinstance(instruction, PreloadRows):
            return RUN_TIME_FORMAT
    return NO_FORMAT


def peak_macs(code: Code, numbers: dict[str, int]) -> int:
    """Return the multiply-accumulates per cycle of the array in the weight format of instructions.

    Parameters
    ----------
    numbers : dict of str to int
        The architecture's integer keys.
    """
    name = weight_format(code)
    bits = WEIGHT_FORMATS[name].pe_bits if name else numbers["pe_weight_bits"]
    columns = numbers["array_cols"]
    if numbers["multi_precision"]:
        columns = columns * numbers["pe_weight_bits"] // slot_bits(bits)
    turns = row_cycles(bits, numbers["pe_weight_bits"], numbers["pe_activation_bits"])
    return numbers["array_rows"] * columns // turns


def described(records: list[dict], program: Program) -> list[dict]:
    """Return call records with the format of each one's weights and the array's peak in it.

    What a program's product holds beside groups that are side by side is no work of the model's.
    """
    known = {
        (name, part.name): (
            part.macs,
            {
                "weight_format": weight_format(code),
                "peak_macs": peak_macs(code, program.arch_numbers),
            },
        )
        for name, function in program.functions.items()
        for part, code in function.operators
    }
    found = []
    for record in records:
        macs, about = known[record["function"], record["name"]]
        found.append({**_without_zeros(record, macs), **about})
    return found


def _without_zeros(record: dict, macs: int) -> dict:
    zeros = max(0, record["macs"] - macs) if macs else 0
    return {**record, "macs": record["macs"] - zeros, "zero_macs": zeros}
