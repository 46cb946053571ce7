"""compiler/host/table.py: what a library carries beside the model."""

from tvm.relax import op

import microscopiq as mq
from tests.compiler import relax_modules as make


def test_a_library_without_code_of_the_host_needs_no_compiler():
    """TVM would make it of C, and run a compiler whenever it's loaded."""
    executable = mq.build(make.module(lambda emit, x: emit(op.exp(x)), (3, 9)))
    assert [module.kind for module in executable.mod.imports] == ["llvm", "microscopiq"]
