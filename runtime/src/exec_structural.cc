// The array's products in structural mode.
#include <algorithm>

#include "errors.h"
#include "machine.h"
#include "structural.h"
#include "temporal_array.h"

namespace microscopiq {

namespace {

StructuralResult StepTemporal(const ArchNumbers& arch, const RawPlane& plane,
                              const MatmulArgs& args) {
  // Only the edges of the tile are trimmed, and only if the machine does so.
  const bool trim = arch.edge_trimming;
  const int rows = trim ? plane.rows : static_cast<int>(arch.array_rows);
  const int cols = trim ? plane.cols : static_cast<int>(arch.array_cols);
  TemporalArray array(rows, cols, static_cast<int>(arch.temporal_cycles));
  for (int row = 0; row < plane.rows; ++row) {
    for (int col = 0; col < plane.cols; ++col) array.Load(row, col, plane.SlotAt(row, col));
  }
  StructuralResult result;
  result.end = array.Stream(args.x, args.x_pitch, plane.rows, static_cast<int>(args.m));
  result.last_start = array.busy() - 1;
  result.adds = array.adds();
  for (int64_t m = 0; m < args.m; ++m) {
    const auto sums = array.sums().begin() + m * cols;
    result.sums.insert(result.sums.end(), sums, sums + plane.cols);
  }
  return result;
}

}  // namespace

void Machine::StepMatmul(const RawPlane& plane, const MatmulArgs& args, const Work& formula) {
  StructuralJob job;
  job.plane = &plane;
  job.x = args.x;
  job.x_pitch = args.x_pitch;
  job.m = static_cast<int>(args.m);
  const StructuralResult result = arch_.temporal_cycles
                                      ? StepTemporal(arch_, plane, args)
                                      : StructuralArray(arch_, stuck_switch_).Run({job}).front();
  const int64_t busy = result.last_start + 1, latency = result.end - busy;
  if (busy != formula.busy || latency != formula.latency || result.adds != formula.adds) {
    Fail(kSimError, "internal: stepping the array took ", busy, " + ", latency, " cycles and ",
         result.adds, " additions; the formula says ", formula.busy, " + ", formula.latency,
         " and ", formula.adds);
  }
  for (int64_t m = 0; m < args.m; ++m) {
    int32_t* acc = reinterpret_cast<int32_t*>(args.acc + m * args.acc_pitch);
    for (int col = 0; col < plane.cols; ++col) {
      const int64_t exact =
          result.sums[m * plane.cols + col] + (args.accumulate ? int64_t{acc[col]} : 0);
      const int64_t kept = std::clamp<int64_t>(exact, args.low, args.high);
      record_.saturations += kept != exact;
      acc[col] = static_cast<int32_t>(kept);
    }
  }
}

}  // namespace microscopiq
