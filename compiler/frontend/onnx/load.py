"""ONNX models, from a path or a ModelProto, to Relax modules."""

from collections.abc import Mapping
from pathlib import Path

import onnx
import tvm

from ....runtime.whole_file import write_file
from ...files import check_model_file
from ...names import with_names
from ...sizes import UPPER
from ..outputs import with_output_names
from .changes import changes
from .importer import import_graph
from .labels import parameter_names
from .passes import Given, simplify
from .read import read_model

DUMP = "00_onnx.txt"


def load_onnx(
    source: str | Path | onnx.ModelProto,
    input_shapes: Mapping | None = None,
    input_values: Mapping | None = None,
    dump_dir: str | Path | None = None,
    max_sizes: Mapping[str, int] | None = None,
) -> tvm.IRModule:
    """Return the Relax module of an ONNX model, names of its parameters attached.

    Parameters
    ----------
    input_shapes : mapping of str to sequence of int, optional
        Sizes that the model leaves open, by input name.
    input_values : mapping of str to array, optional
        Inputs that are constants of the compiled model.
    dump_dir : str or Path, optional
        Folder that gets a file of what each pass changed.
    max_sizes : mapping of str to int, optional
        Bounds of sizes that stay open, by name: a call decides these.

    Raises
    ------
    InputError
        For a file that is missing, no ONNX, or truncated, and for one whose sizes are open.
    ConfigError
        For a shape or a value that doesn't fit the model's inputs.
    UnsupportedError
        For an operator that can't be imported.
    """
    model = source if isinstance(source, onnx.ModelProto) else read_model(check_model_file(source))
    where = "the model" if isinstance(source, onnx.ModelProto) else str(source)
    texts: list[str] = []

    def observe(*change) -> None:
        texts.append(changes(*change))

    given = Given(input_shapes or {}, input_values or {}, max_sizes or {})
    model = simplify(model, given, observe if dump_dir else None)
    if dump_dir:
        write_file(Path(dump_dir) / DUMP, "\n".join(texts))
    mod = import_graph(model, where)
    if given.largest:
        mod["main"] = mod["main"].with_attr(UPPER, dict(given.largest))
    mod = with_output_names(mod, [value.name for value in model.graph.output])
    return with_names(mod, parameter_names(model))
