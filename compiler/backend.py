"""What TVM sees: the target tag, the default pipeline, the entry point `tvm.backends`."""

from ..runtime import load
from ..target.arch import DEFAULT_ARCH

# Whatever is imported first, TVM loads this module in the middle of it: it may import nothing
# that could be half imported by then, TVM included.
TAG = "microscopiq"
HOST = {"kind": "llvm", "opt-level": 2}
"""Of what stays on the host. LLVM's third level takes longer for code that runs as fast."""
RECIPE_IS = "recipe="


def autoload() -> None:
    """Register the backend; TVM calls this at `import tvm` through the entry point."""
    import tvm
    from tvm import relax

    load()
    tvm.target.register_tag(
        TAG,
        {
            "kind": "ext_dev",
            "keys": [TAG],
            "device": TAG,
            "model": DEFAULT_ARCH,
            "host": HOST,
        },
    )
    previous = relax.pipeline.PIPELINE_MAP["default"]
    relax.pipeline.PIPELINE_MAP["default"] = lambda: _dispatch(previous())


def _dispatch(default):
    """Return a pipeline that compiles for us when the target is ours, else TVM's own."""
    import tvm

    @tvm.transform.module_pass(opt_level=0, name="DefaultOrMicroscopiq")
    def pipeline(mod, _context):
        target = tvm.target.Target.current(allow_none=True)
        if target is None or TAG not in target.keys:
            return default(mod)
        return _compile(mod, target, default)

    return pipeline


def _named_recipe(target) -> str | None:
    """Return the recipe of a target with ``"libs": ["recipe=NAME"]``, None without.

    TVM lets a target of this kind have few attributes; `libs` is the one for lists of choices.

    Raises
    ------
    ConfigError
        For any other entry of `libs`.
    """
    from ..target.errors import ConfigError

    named = [str(entry) for entry in target.attrs.get("libs", ())]
    wrong = [entry for entry in named if not entry.startswith(RECIPE_IS)]
    if wrong or len(named) > 1:
        raise ConfigError(
            f"target's libs = {named}; allowed: one entry '{RECIPE_IS}NAME' or a recipe's path"
        )
    return named[0].removeprefix(RECIPE_IS) if named else None


def _compile(mod, target, default):
    import tvm
    from tvm import tirx

    from .driver import run_stages
    from .host.table import with_costs
    from .options import Options
    from .passes.records import lowered_for

    if not lowered_for(mod):
        arch = str(target.attrs.get("model", DEFAULT_ARCH)) or DEFAULT_ARCH
        arch = DEFAULT_ARCH if arch == "unknown" else arch
        mod = run_stages(mod, Options(recipe=_named_recipe(target), arch=arch)).mod
    host = target.host or tvm.target.Target(HOST)
    with host:
        mod = with_costs(default(mod), default)
    # A PrimFunc without a target of its own would be built for ext_dev, which has no codegen.
    bound = tvm.target.Target(host, host=host)
    functions = {
        gv: function.with_attr("target", bound) if isinstance(function, tirx.PrimFunc) else function
        for gv, function in mod.functions.items()
    }
    return tvm.IRModule(functions, attrs=mod.attrs)
