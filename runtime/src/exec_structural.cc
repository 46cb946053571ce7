// The array's products in structural mode.
#include <algorithm>

#include "errors.h"
#include "machine.h"
#include "structural.h"

namespace microscopiq {

void Machine::StepMatmul(const RawPlane& plane, const MatmulArgs& args, const Work& formula) {
  StructuralJob job;
  job.plane = &plane;
  job.x = args.x;
  job.x_pitch = args.x_pitch;
  job.m = static_cast<int>(args.m);
  const StructuralResult result = StructuralArray(arch_, stuck_switch_).Run({job}).front();
  const int64_t busy = result.last_start + 1, latency = result.end - busy;
  if (busy != formula.busy || latency != formula.latency) {
    Fail(kSimError, "internal: stepping the array took ", busy, " + ", latency,
         " cycles; the formula says ", formula.busy, " + ", formula.latency);
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
