"""From an ONNX file to exact numbers and cycles.

The package brings a small convolutional network trained on 8x8 digits. This script quantizes it,
compiles it for the array of the MicroScopiQ paper, runs it on the simulator and looks at what came
out. Run it with ``python tutorials/01_compile_and_run.py``; the images need the extra ``demo``.
"""

from pathlib import Path

import numpy as np
import tvm

import microscopiq as mq
from microscopiq.compiler import demo
from microscopiq.compiler.demo.digits import held_out

# 1. Load. An .onnx path, an ONNX ModelProto, a torch.export program and an nn.Module all become
#    a Relax module. This model was exported for batches of 60 images.
model = mq.load_model(Path(demo.__file__).parent / "digits_cnn.onnx")
images, labels = held_out()
batch, truth = images[:60], labels[:60]

# 2. Quantize. The recipe names the algorithm and the weight format: MicroScopiQ at 4 bits, with
#    outliers at twice that. No data is needed. The result is an ordinary Relax module.
quantized = mq.quantize(model, recipe="microscopiq-w4a8")

# 3. Build for a machine. `tvm.relax.build(model, target="microscopiq")` does 2 and 3 at once.
executable = mq.build(quantized)

# 4. Run on the simulator.
result = mq.Session(executable).run(batch)
logits = result.outputs[0]
print(f"{(logits.argmax(axis=1) == truth).sum()} of {len(truth)} images are right")

# 5. Where do the cycles go? Each unit's cycles are split into busy and idle by cause, and add up
#    to the total. `recon` counts the cycles in which rows with outliers wait for the ReCoN network.
print(f"{result.cycles} cycles, {result.seconds * 1e6:.1f} us")
print(f"{result.utilisation:.1%} of the array's multiply-accumulates are used")
for unit, parts in result.unit_cycles.items():
    assert sum(parts.values()) == result.cycles
    print(f"  {unit:8}", "  ".join(f"{cause} {cycles}" for cause, cycles in parts.items()))

# 6. And which layers take them? There is one record for each call into the program.
for call in sorted(result.calls, key=lambda call: -call["cycles"])[:3]:
    print(f"  {call['layer']:24} {call['cycles']:8} cycles  {call['macs']:10} MACs")

# 7. Read one function: hardware loops, transfers, a weight plane, the rows that stream through it.
largest = max(result.calls, key=lambda call: call["macs"])
listing = mq.disassemble(executable, largest["name"]).splitlines()
loops = next(number for number, line in enumerate(listing) if "  loop " in line)
print("\n".join(line[:100] for line in [*listing[:9], "  ...", *listing[loops : loops + 16]]))

# 8. Hold it against the reference: the same quantized module, built by TVM for the CPU alone. The
#    integer sums and every fp32 operation are defined to the bit, and the operators between the
#    layers are compiled alike for both, so the outputs have to be equal, not close.
reference = mq.Session(tvm.relax.build(quantized, target="llvm")).run(batch)
assert np.array_equal(logits.view(np.uint32), reference.outputs[0].view(np.uint32))
print("equal to LLVM, bit for bit")
