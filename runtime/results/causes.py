"""What a unit's cycles go to, and how reports name and colour it.

The core declares the causes (`Cause` in runtime/src/stats.h); a test compares the names.
"""

from dataclasses import dataclass

BUSY, IDLE = "busy", "idle"


@dataclass(frozen=True)
class Cause:
    """One thing that a unit's cycles go to.

    Attributes
    ----------
    key : str
        Name in call records.
    slice : str
        Name of its slices in a timeline; Perfetto colours by name. Busy slices have the
        instruction's mnemonic, and idle cycles none: they are gaps.
    letter : str
        One character for it in the bars of the command line.
    color : str
        Colour in plots, chosen so that readers with a colour vision deficiency tell them apart
        (the palette of Okabe and Ito).
    trace_color : str
        Reserved colour name of the trace event format, for viewers that read it.
    doc : str
    """

    key: str
    slice: str
    letter: str
    color: str
    trace_color: str
    doc: str


CAUSES = {
    cause.key: cause
    for cause in (
        Cause(BUSY, "", "█", "#000000", "", "the unit works"),
        Cause(
            "dma",
            "waits for dma",
            "d",
            "#e69f00",
            "thread_state_iowait",
            "data is on its way from or to DRAM, or the channel is taken",
        ),
        Cause(
            "weights",
            "waits for weights",
            "w",
            "#009e73",
            "rail_load",
            "weight planes are being loaded, or switches set",
        ),
        Cause("array", "waits for array", "a", "#0072b2", "rail_response", "the array streams"),
        Cause(
            "vector",
            "waits for vector",
            "v",
            "#56b4e9",
            "rail_animation",
            "the vector unit works",
        ),
        Cause(
            "recon",
            "waits for recon",
            "r",
            "#d55e00",
            "terrible",
            "rows with outliers take turns at ReCoN",
        ),
        Cause(
            "temporal",
            "adds rows again",
            "t",
            "#f0e442",
            "olive",
            "temporal PEs add rows again, for weights beyond 1",
        ),
        Cause(
            "fill_drain",
            "fill or drain",
            "f",
            "#cc79a7",
            "yellow",
            "the array's pipeline fills or empties",
        ),
        Cause(IDLE, "", "·", "#999999", "grey", "nothing is dispatched to the unit"),
    )
}
"""In the order of the call records."""


def largest_stall(parts: dict[str, int]) -> str:
    """Return the cause that took most of a unit's cycles in which it didn't work."""
    return max((key for key in parts if key != BUSY), key=lambda key: parts[key])
