"""What TVM sees: the target tag, the default pipeline, the entry point `tvm.backends`."""

import tvm
from tvm import relax, tirx

from ..runtime import load
from ..target.arch import DEFAULT_ARCH

TAG = "microscopiq"


def autoload() -> None:
    """Register the backend; TVM calls this at `import tvm` through the entry point."""
    load()
    tvm.target.register_tag(
        TAG,
        {
            "kind": "ext_dev",
            "keys": [TAG],
            "device": TAG,
            "model": DEFAULT_ARCH,
            "host": {"kind": "llvm"},
        },
    )
    previous = relax.pipeline.PIPELINE_MAP["default"]
    relax.pipeline.PIPELINE_MAP["default"] = lambda: _dispatch(previous())


def _dispatch(default):
    """Return a pipeline that compiles for us when the target is ours, else TVM's own."""

    @tvm.transform.module_pass(opt_level=0, name="DefaultOrMicroscopiq")
    def pipeline(mod: tvm.IRModule, _context) -> tvm.IRModule:
        target = tvm.target.Target.current(allow_none=True)
        if target is None or TAG not in target.keys:
            return default(mod)
        return _compile(mod, target, default)

    return pipeline


def _compile(mod: tvm.IRModule, target, default) -> tvm.IRModule:
    # Here and not above: TVM loads this file in the middle of whichever of these modules was
    # imported first and began with `import tvm`.
    from .driver import run_stages
    from .options import Options
    from .passes.lower import LOWERED

    if not (mod.attrs and LOWERED in mod.attrs):
        arch = str(target.attrs.get("model", DEFAULT_ARCH)) or DEFAULT_ARCH
        mod = run_stages(mod, Options(arch=DEFAULT_ARCH if arch == "unknown" else arch)).mod
    host = target.host or tvm.target.Target("llvm")
    with host:
        mod = default(mod)
    # A PrimFunc without a target of its own would be built for ext_dev, which has no codegen.
    bound = tvm.target.Target({"kind": host.kind.name}, host=host)
    functions = {
        gv: function.with_attr("target", bound) if isinstance(function, tirx.PrimFunc) else function
        for gv, function in mod.functions.items()
    }
    return tvm.IRModule(functions, attrs=mod.attrs)
