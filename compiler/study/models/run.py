"""One row of the matrix: a source imported, built, run, and held against LLVM and fp32."""

import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import tvm

from ....runtime.session import Session
from ....target.errors import MicroscopiqError, last_line
from ...driver import compile_model
from ...frontend.check import distance_db, run_fp32
from ...options import Options
from ...verify import run_reference


@dataclass(frozen=True)
class Imported:
    """A model that was loaded, inputs for it, and what its source gives for them in fp32."""

    mod: tvm.IRModule
    inputs: list[np.ndarray]
    expected: list[np.ndarray]


@dataclass(frozen=True)
class Source:
    """Where a row comes from: ``torch``, ``onnx``, or ``file``; `load` imports it."""

    name: str
    form: str
    load: Callable[[], Imported]


@dataclass(frozen=True)
class Row:
    """What became of a model.

    Attributes
    ----------
    stage, error : str
        Where it failed, ``import``, ``build`` or ``run``, and why; empty if it didn't.
    import_db : float or None
        The fp32 module on LLVM beside the source.
    equal : bool or None
        Whether the simulator's outputs are LLVM's in every bit.
    sqnr_db : float or None
        The quantized model beside the source.
    macs_share, time_share : float or None
        Of multiply-accumulates, and of the operators' time, on the machine; None without any.
    latency_share : float or None
        The machine's of the whole latency, of which hand-overs are a part.
    host : tuple of (str, str, int)
        Operators on the host, why, and how many.
    """

    name: str
    form: str
    stage: str = ""
    error: str = ""
    import_db: float | None = None
    equal: bool | None = None
    sqnr_db: float | None = None
    macs_share: float | None = None
    time_share: float | None = None
    latency_share: float | None = None
    host: tuple[tuple[str, str, int], ...] = ()

    def to_record(self) -> dict:
        """Return the row for JSON, in which infinite numbers are text."""
        return {
            key: str(value) if isinstance(value, float) and not np.isfinite(value) else value
            for key, value in asdict(self).items()
        }


def measure(source: Source, options: Options) -> Row:
    """Return the row of a source; what goes wrong is in it."""
    row = Row(source.name, source.form)
    stage = "import"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            given = source.load()
            import_db = distance_db(given.expected, run_fp32(given.mod, given.inputs))
        stage = "build"
        compilation = compile_model(given.mod, options)
        stage = "run"
        result = Session(compilation.executable).run(*given.inputs)
        reference = run_reference(compilation, given.inputs)
    except MicroscopiqError as error:
        return Row(source.name, source.form, stage, str(error))
    except (RuntimeError, ValueError, TypeError, KeyError, AssertionError,
            AttributeError, NotImplementedError, IndexError, ImportError) as error:  # fmt: skip
        return Row(source.name, source.form, stage, last_line(error))
    working = result.seconds + result.host_seconds
    macs = result.macs + sum(row["macs"] for row in result.host_calls)
    return Row(
        row.name,
        row.form,
        import_db=import_db,
        equal=_same_bits(result.outputs, reference),
        # Random networks can end at 1e-27.
        sqnr_db=distance_db(given.expected, result.outputs, unit=0.0),
        macs_share=result.macs / macs if macs else None,
        time_share=result.seconds / working if working else None,
        latency_share=result.seconds / result.latency_seconds if result.latency_seconds else None,
        host=tuple(
            (one.operator, one.reason, one.times)
            for one in compilation.host
            if one.function == "main"
        ),
    )


def _same_bits(found: list[np.ndarray], expected: list[np.ndarray]) -> bool:
    return len(found) == len(expected) and all(
        have.shape == want.shape and have.tobytes() == want.tobytes()
        for have, want in zip(found, expected, strict=True)
    )
