"""Write the reference pages that are derived from the registries.

Run ``python -m microscopiq.compiler.docs`` after an edit of the constraints, a format, a recipe or
an architecture; a test compares the committed files with what this prints.
"""

from collections.abc import Callable
from pathlib import Path

import tvm  # noqa: F401  (TVM loads this backend; importing it first keeps that from nesting)

from ...target import clusters, victims
from ...target.arch import DEFAULT_ARCH, Arch, arch_names, integer_keys, load_arch
from ...target.formats import (
    ACTIVATION_FORMATS,
    MACRO_BLOCK,
    MICRO_BLOCK,
    WEIGHT_FORMATS,
)
from ..partition.constraints import ANCHORS, CONSTRAINTS, HOST_REASONS, OTHER_REASON
from ..passes.vectorize.forms import MOST
from ..passes.vectorize.legal import known_forms
from .energy import energy
from .onnx_operators import onnx_operators
from .recipes import recipes
from .results import results

ROOT = Path(__file__).resolve().parents[2]


CODEBOOKS = [
    "A code of these stands for an integer, and an element is that times a power of two that the",
    "format knows: PEs multiply the integer, in as many bits as it needs, while DRAM and weight",
    "buffer hold codes. So `mxfp4` takes columns of 8 bits on a multi-precision array, and 4 bits",
    "of memory. Minifloats and their scales are those of OCP MX v1.0 and of NVFP4, whose factor",
    "each panel repeats.",
]
"""What stands above the tables of docs/formats.md."""


def operators() -> str:
    """Return the text of docs/operators.md."""
    out = _head(
        "Supported operators",
        "compiler/partition/constraints.py and tests/e2e/onnx_backend.csv",
        "The array runs matrix products and convolutions. One that breaks a constraint runs on the "
        "host, and the constraint's text is the reason in the report; `--strict` makes that an "
        "error.",
    )
    out += ["| operator | constraint | text |", "|---|---|---|"]
    for anchor in ANCHORS:
        for constraint in CONSTRAINTS[anchor]:
            out.append(f"| `{anchor}` | `{constraint.__name__}` | {constraint.__doc__} |")
    out += [
        "",
        "## Off the array",
        "",
        "What is no product goes to the vector unit, as a function that TVM legalized and fused, "
        "if its elements are read and written at strides, at indices or at places that are known. "
        "Operators that step from element to element take the forms below, as long as their "
        f"results look at no more than {MOST:,} elements in all; longer ones, shapes that data "
        "decide and types such as float16 stay on the host, with the reason in the report. A "
        "model compiled with `--no-vector` "
        "leaves all of it there, with the reasons of this table; they are also those for products "
        "that aren't made of an operator.",
        "",
        "| operator | what each result does |",
        "|---|---|",
    ]
    for name, form in sorted(known_forms().items()):
        text = " ".join((form.__doc__ or "").split())
        out.append(f"| `{name}` | {text[0].lower()}{text[1:].rstrip('.')} |")
    out += ["", "| operator | reason |", "|---|---|"]
    out += [f"| `{name}` | {reason} |" for name, reason in sorted(HOST_REASONS.items())]
    out.append(f"| any other | {OTHER_REASON} |")
    out += onnx_operators()
    return "\n".join(out) + "\n"


def formats() -> str:
    """Return the text of docs/formats.md."""
    out = _head(
        "Number formats",
        "target/formats.py",
        "Each row of the registries. Bits are those of one slot; packed weights also carry their "
        "scales and, in formats with outliers, where these are.",
    )
    out += ["## Weights", ""]
    out += [
        "| name | code | bits | in a PE | integers | scale | outlier mantissa | guard bits | "
        "machines | what it is |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in WEIGHT_FORMATS.values():
        mantissa = f"{row.mantissa_bits} bits" if row.has_outliers else "no outliers"
        mantissa = "beside a victim" if row.pairs else mantissa
        machines = [name for name in arch_names() if row.name in load_arch(name).weight_formats]
        scale = row.scale.value.format(group=row.group)
        out.append(
            f"| `{row.name}` | {row.code} | {row.bits} | {row.pe_bits} | "
            f"-{row.q_max} to {row.q_max} | "
            f"{scale} | {mantissa} | {row.guard_bits} | {_names(machines)} | "
            f"{row.description} |"
        )
    out += ["", f"A micro-block has {MICRO_BLOCK} output channels, a macro-block {MACRO_BLOCK}."]
    out += ["", "## Codebooks", "", *CODEBOOKS, "", *_tables()]
    out += ["", "## Clusters of `fineq`", "", *_paragraphs(clusters.__doc__)]
    out += ["", "## Pairs of `olive4`", "", *_paragraphs(victims.__doc__)]
    out += ["", "Which weights are outliers is a choice of the method ([recipes.md](recipes.md))."]
    out += ["", "## Activations", "", "| name | bits | codes | what it is |", "|---|---|---|---|"]
    for activation in ACTIVATION_FORMATS.values():
        out.append(
            f"| `{activation.name}` | {activation.bits} | -{activation.q_max} to "
            f"{activation.q_max} | {activation.description} |"
        )
    out += [
        "",
        "All machines take all of them, a code being a sign-extended byte in memory, but those",
    ]
    out += ["with `pe_activation_bits = 4` beside weights of up to 4 bits: they take 4 bits."]
    return "\n".join(out) + "\n"


def _tables() -> list[str]:
    """Return a table of the formats whose codes are tables: the integer of each code."""
    lines = ["| name | an integer of 1 | integers of the codes 0, 1, .. |", "|---|---|---|"]
    for row in WEIGHT_FORMATS.values():
        if row.table is not None:
            integers = " ".join(map(str, row.values))
            lines.append(f"| `{row.name}` | 2^-{row.fraction_bits} | {integers} |")
    return lines


def architectures() -> str:
    """Return the text of docs/architectures.md."""
    archs = [load_arch(name) for name in arch_names()]
    out = _head(
        "Architectures",
        "target/archs/*.toml and the keys of target/arch.py",
        f"The modeled machines. `{DEFAULT_ARCH}` is the default; a path to a .toml file of your "
        "own does as well. It has all of these keys, or a `base`, the name or path of another one, "
        "and the keys that differ; `name` and `description` are always its own.",
    )
    out += ["| name | what it is |", "|---|---|"]
    out += [f"| `{arch.name}` | {arch.description} |" for arch in archs]
    out += ["", "## Keys", "", _row("key", "allowed", *(f"`{arch.name}`" for arch in archs))]
    out.append("|---" * (2 + len(archs)) + "|")
    out.append(_row("`weight_formats`", "names", *(_names(arch.weight_formats) for arch in archs)))
    out.append(_row("`technology`", "names", *(f"`{arch.technology}`" for arch in archs)))
    for field in integer_keys():
        low, high = field.metadata["low"], field.metadata["high"]
        out.append(_row(f"`{field.name}`", f"{low} to {high}", *_values(archs, field.name)))
    out += ["", "| key | meaning |", "|---|---|"]
    out.append("| `weight_formats` | weight formats it decodes, of [formats.md](formats.md) |")
    out.append("| `technology` | areas and energies of its parts, of [energy.md](energy.md) |")
    out += [f"| `{field.name}` | {field.metadata['doc']} |" for field in integer_keys()]
    return "\n".join(out) + "\n"


OUTPUTS: dict[str, Callable[[], str]] = {
    "docs/operators.md": operators,
    "docs/formats.md": formats,
    "docs/recipes.md": recipes,
    "docs/architectures.md": architectures,
    "docs/energy.md": energy,
    "docs/results.md": results,
}


def main() -> None:
    """Write every derived page into the source tree."""
    for name, text in OUTPUTS.items():
        (ROOT / name).write_text(text(), encoding="utf-8")


def _paragraphs(text: str | None) -> list[str]:
    """Return a module's docstring without its title."""
    return (text or "").strip().split("\n\n", 1)[1].splitlines()


def _head(title: str, source: str, text: str) -> list[str]:
    return [
        f"# {title}",
        "",
        f"Generated by `compiler/docs` from {source}.",
        "",
        text,
        "",
    ]


def _row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def _names(names) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _values(archs: list[Arch], name: str) -> list[str]:
    return [str(getattr(arch, name)) for arch in archs]


if __name__ == "__main__":
    main()
