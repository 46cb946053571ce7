"""Processing elements counted in standard cells: areas that no paper gives, from public cells.

The counts are of plain structures (array multiplier, ripple adders, one flip-flop per stored bit),
so that a ratio of two of them says what a structure costs, not what a synthesis tool saved.
`target/technologies/nangate45.toml` holds their areas; a test compares it with these formulas.
"""

from dataclasses import dataclass

CELL_UM2 = {"and": 1.064, "xor": 1.596, "mux": 1.862, "full_adder": 4.256, "flip_flop": 4.522}
"""AND2_X1, XOR2_X1, MUX2_X1, FA_X1, DFF_X1 of the NanGate 45 nm Open Cell Library: width x 1.4 um
of its LEF (0.76, 1.14, 1.33, 3.04 and 3.23 um)."""

ACTIVATION_BITS = 8
SUM_BITS = 32


@dataclass(frozen=True)
class Cells:
    """How many cells of each kind a structure has."""

    counts: dict[str, int]

    @property
    def um2(self) -> float:
        return sum(CELL_UM2[kind] * count for kind, count in self.counts.items())

    def __add__(self, other: "Cells") -> "Cells":
        kinds = {*self.counts, *other.counts}
        return Cells({k: self.counts.get(k, 0) + other.counts.get(k, 0) for k in sorted(kinds)})


def multiplier(a_bits: int, b_bits: int) -> Cells:
    """Return an array multiplier: a row of partial products per bit of b, added up row by row."""
    return Cells({"and": a_bits * b_bits, "full_adder": a_bits * (b_bits - 1)})


def adder(bits: int) -> Cells:
    return Cells({"full_adder": bits})


def register(bits: int) -> Cells:
    return Cells({"flip_flop": bits})


def mac_pe(weight_bits: int, activation_bits: int = ACTIVATION_BITS, sum_bits: int = SUM_BITS):
    """Return a weight-stationary PE: multiplier, adder, registers of weight, activation, sum."""
    stored = register(weight_bits + activation_bits + sum_bits)
    return multiplier(activation_bits, weight_bits) + adder(sum_bits) + stored


def multi_precision_pe() -> Cells:
    """Return MicroScopiQ's PE (A3): four 2 x 4 bit multipliers, and a sum per 2-bit weight.

    Their products of one weight half meet in an 8-bit adder, of two halves in a 10-bit one that
    the mode's multiplexers put before the sums; 2-bit weights need a sum each.
    """
    products = Cells({"and": 4 * 8, "full_adder": 4 * 4})
    combine = adder(2 * 8 + 10) + Cells({"mux": 10})
    return products + combine + adder(2 * SUM_BITS) + register(4 + ACTIVATION_BITS + 2 * SUM_BITS)


def temporal_pe(activation_bits: int = ACTIVATION_BITS, sum_bits: int = SUM_BITS) -> Cells:
    """Return a PE of temporal coding: the activation is added or subtracted |weight| times.

    XORs give it the sign, ANDs hold it back in the cycles after the last pulse, which a 2-bit
    comparison with the array's cycle counter finds; the weight is a sign and two bits.
    """
    control = Cells({"xor": activation_bits + 2, "and": activation_bits + 2})
    return control + adder(sum_bits) + register(3 + activation_bits + sum_bits)


def group_decoder() -> Cells:
    """Return FineQ's decoder: 56 bits held, 24 weights of 3 bits chosen from four patterns."""
    return Cells({"mux": 24 * 3 * 2}) + register(56)


def product_shifter() -> Cells:
    """Return what moves a product of 4 by 8 bits up to 5 places, and holds by how many."""
    return Cells({"mux": 3 * (4 + ACTIVATION_BITS + 5)}) + register(3)


def exponent_pe() -> Cells:
    """Return OliVe's PE: 4 bits by 4, two exponents held and added, a product moved 10 places."""
    exponents = register(2 * 3) + adder(4)
    return mac_pe(4, 4) + exponents + Cells({"mux": 4 * (4 + 4 + 10)})


def joined_pes() -> Cells:
    """Return what adds the products of four PEs: both middle ones, then these to the outer two."""
    return adder(9 + 16)


def pair_decoder(bits: int = 4, exponent_bits: int = 3) -> Cells:
    """Return OliVe's decoder: a pair held, one code chosen, a victim found, an outlier made."""
    chosen = Cells({"mux": bits + bits + exponent_bits})
    return chosen + Cells({"and": 2 * (bits - 1), "xor": bits - 1}) + register(2 * bits)


def weight_register() -> Cells:
    """Return a bit of a further weight plane: what it holds, and whether it is multiplied by."""
    return register(1) + Cells({"mux": 1})


def replay_multiplexer() -> Cells:
    """Return a bit of a rank of the network that brings listed activations to array rows."""
    return Cells({"mux": 1})


def recon_switch() -> Cells:
    """Return a ReCoN switch: two outputs of four choices, a merge of four operands, registers."""
    choices = Cells({"mux": 2 * 3 * SUM_BITS})
    return choices + adder(3 * SUM_BITS) + register(2 * SUM_BITS + ACTIVATION_BITS)


def sync_buffer_word() -> Cells:
    """Return the place of one partial sum in the buffer before ReCoN."""
    return register(SUM_BITS)
