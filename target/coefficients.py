"""Numbers of the vector functions, found by benchmarks/minimax.py: all of them fp32, exactly."""

COEFFICIENTS: dict[str, tuple[float, ...]] = {
    "exp": (
        float.fromhex("0x1.0000000000000p-1"),
        float.fromhex("0x1.5555540000000p-3"),
        float.fromhex("0x1.5554f80000000p-5"),
        float.fromhex("0x1.1112d80000000p-7"),
        float.fromhex("0x1.6d3a4e0000000p-10"),
        float.fromhex("0x1.9e733a0000000p-13"),
    ),
    "exp2": (
        float.fromhex("0x1.ebfbe00000000p-3"),
        float.fromhex("0x1.c6b08c0000000p-5"),
        float.fromhex("0x1.3b2a4c0000000p-7"),
        float.fromhex("0x1.5d8a160000000p-10"),
        float.fromhex("0x1.4420680000000p-13"),
        float.fromhex("0x1.fdc5e20000000p-17"),
    ),
    "log": (
        float.fromhex("0x1.5555480000000p-2"),
        float.fromhex("-0x1.0000060000000p-2"),
        float.fromhex("0x1.99a4780000000p-3"),
        float.fromhex("-0x1.555c4e0000000p-3"),
        float.fromhex("0x1.233b780000000p-3"),
        float.fromhex("-0x1.fc26ac0000000p-4"),
        float.fromhex("0x1.e6c0400000000p-4"),
        float.fromhex("-0x1.de10060000000p-4"),
        float.fromhex("0x1.1484e20000000p-4"),
    ),
    "log2": (
        float.fromhex("0x1.3333800000000p-1"),
        float.fromhex("0x1.b67bbe0000000p-2"),
        float.fromhex("0x1.67b91e0000000p-2"),
    ),
    "tanh": (
        float.fromhex("-0x1.5555520000000p-2"),
        float.fromhex("0x1.11103e0000000p-3"),
        float.fromhex("-0x1.b9f7700000000p-5"),
        float.fromhex("0x1.64c7a20000000p-6"),
        float.fromhex("-0x1.1906720000000p-7"),
        float.fromhex("0x1.9086be0000000p-9"),
        float.fromhex("-0x1.b181720000000p-11"),
        float.fromhex("0x1.ee451c0000000p-14"),
    ),
    "erf": (
        float.fromhex("0x1.06eba80000000p-3"),
        float.fromhex("-0x1.81273e0000000p-2"),
        float.fromhex("0x1.ce2ce60000000p-4"),
        float.fromhex("-0x1.b7f71a0000000p-6"),
        float.fromhex("0x1.53f2240000000p-8"),
        float.fromhex("-0x1.a3515e0000000p-11"),
        float.fromhex("0x1.4771fe0000000p-14"),
    ),
    "erf_tail": (
        float.fromhex("-0x1.8a594e0000000p-13"),
        float.fromhex("0x1.212c0e0000000p+0"),
        float.fromhex("0x1.4435600000000p-1"),
        float.fromhex("0x1.bc15640000000p-4"),
        float.fromhex("-0x1.9d03ee0000000p-6"),
        float.fromhex("0x1.138e400000000p-8"),
        float.fromhex("-0x1.cecb500000000p-12"),
        float.fromhex("0x1.6bdfc40000000p-16"),
    ),
    "sin": (
        float.fromhex("-0x1.5555560000000p-3"),
        float.fromhex("0x1.1111740000000p-7"),
        float.fromhex("-0x1.a0595a0000000p-13"),
        float.fromhex("0x1.7c30620000000p-19"),
    ),
    "cos": (
        float.fromhex("0x1.55554a0000000p-5"),
        float.fromhex("-0x1.6c0c280000000p-10"),
        float.fromhex("0x1.99e8140000000p-16"),
    ),
}
"""Of a polynomial, the lowest power first."""

CONSTANTS: dict[str, float] = {
    "log2_e": float.fromhex("0x1.7154760000000p+0"),
    "ln2": float.fromhex("0x1.62e4300000000p-1"),
    "log2_scale": float.fromhex("0x1.ec709e0000000p-1"),
    "log10_2": float.fromhex("0x1.3441360000000p-2"),
    "pi_half": float.fromhex("0x1.921fb60000000p+0"),
    "ln2_high": float.fromhex("0x1.62e4000000000p-1"),
    "ln2_low": float.fromhex("0x1.7f7d1c0000000p-20"),
    "ln2_short": float.fromhex("0x1.62e0000000000p-1"),
    "ln2_rest": float.fromhex("0x1.0bfbe80000000p-15"),
    "log2_scale_high": float.fromhex("0x1.ec80000000000p-1"),
    "log2_scale_low": float.fromhex("-0x1.ec478c0000000p-14"),
    "log10_2_high": float.fromhex("0x1.3440000000000p-2"),
    "log10_2_low": float.fromhex("0x1.3509f80000000p-18"),
    "pi_half_high": float.fromhex("0x1.9220000000000p+0"),
    "pi_half_low": float.fromhex("-0x1.2aeef40000000p-18"),
}

WORDS = (
    0x00000000,
    0xA2F9836E,
    0x4E441529,
    0xFC2757D1,
    0xF534DDC0,
    0xDB629599,
    0x3C439041,
    0xFE5163AB,
)
"""2/pi in words of 32 bits behind a word of zeros: enough for the largest fp32."""
