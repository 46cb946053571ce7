// The array's products in structural mode: each one alone, for its values and to judge the closed
// formula; then all of a call at the times they got, to judge how they share the array.
#include <algorithm>
#include <iterator>

#include "errors.h"
#include "machine/machine.h"
#include "structural/array.h"
#include "structural/temporal_array.h"

namespace microscopiq {
namespace {

// FNV-1a: tells sums apart without keeping them.
uint64_t Digest(const std::vector<int64_t>& sums) {
  uint64_t digest = 0xcbf29ce484222325;
  for (int64_t sum : sums) digest = (digest ^ static_cast<uint64_t>(sum)) * 0x100000001b3;
  return digest;
}

struct TemporalResult {
  StructuralResult times;
  std::vector<int64_t> sums;  // (m, cols) of the plane
  int64_t adds = 0;
};

TemporalResult StepTemporal(const ArchNumbers& arch, const RawPlane& plane, const MatmulArgs& args,
                            Guard* guard) {
  // Only the edges of the tile are trimmed, and only if the machine does so.
  const bool trim = arch.edge_trimming;
  const int rows = trim ? plane.rows : static_cast<int>(arch.array_rows);
  const int cols = trim ? plane.cols : static_cast<int>(arch.array_cols);
  TemporalArray array(rows, cols, static_cast<int>(arch.temporal_cycles));
  for (int row = 0; row < plane.rows; ++row) {
    for (int col = 0; col < plane.cols; ++col) array.Load(row, col, plane.SlotAt(row, col));
  }
  TemporalResult result;
  result.times.end =
      array.Stream(args.x, args.x_pitch, plane.rows, static_cast<int>(args.m), guard);
  result.times.last_start = array.busy() - 1;
  result.adds = array.adds();
  for (int64_t m = 0; m < args.m; ++m) {
    const auto sums = array.sums().begin() + m * cols;
    result.sums.insert(result.sums.end(), sums, sums + plane.cols);
  }
  return result;
}

// Sums (m, cols) of rows from those of their high and low halves, which left the array in turns.
std::vector<int64_t> Joined(const std::vector<int64_t>& sums, int cols) {
  std::vector<int64_t> joined;
  joined.reserve(sums.size() / 2);
  for (size_t high = 0; high < sums.size(); high += 2 * cols) {
    for (size_t at = high; at < high + cols; ++at) {
      joined.push_back(sums[at] * (1 << kHalfBits) + sums[at + cols]);
    }
  }
  return joined;
}

void CheckFormula(const StructuralResult& result, int64_t adds, const Work& formula) {
  const int64_t busy = result.last_start + 1, latency = result.end - busy;
  if (busy != formula.busy || latency != formula.latency || adds != formula.adds) {
    Fail(kSimError, "internal: stepping the array took ", busy, " + ", latency, " cycles and ",
         adds, " additions; the formula says ", formula.busy, " + ", formula.latency, " and ",
         formula.adds);
  }
}

}  // namespace

void Machine::Accumulate(const MatmulArgs& args, int cols, const int64_t* sum) {
  for (int64_t m = 0; m < args.m; ++m) {
    int32_t* acc = reinterpret_cast<int32_t*>(args.acc + m * args.acc_pitch);
    for (int col = 0; col < cols; ++col) {
      const int64_t exact = *sum++ + (args.accumulate ? int64_t{acc[col]} : 0);
      const int64_t kept = std::clamp<int64_t>(exact, args.low, args.high);
      record_.saturations += kept != exact;
      acc[col] = static_cast<int32_t>(kept);
    }
  }
}

void Machine::StepMatmul(const std::shared_ptr<const RawPlane>& plane, const MatmulArgs& args,
                         const Work& formula) {
  if (arch_.temporal_cycles) {
    const TemporalResult result = StepTemporal(arch_, *plane, args, guard_);
    CheckFormula(result.times, result.adds, formula);
    Accumulate(args, plane->cols, result.sums.data());
    return;
  }
  const bool halves = RowCycles(arch_, plane->mode.bits) == 2;
  SteppedMatmul stepped;
  stepped.plane = plane;
  stepped.m = static_cast<int>(args.m) * (halves ? 2 : 1);
  stepped.x.reserve(static_cast<size_t>(stepped.m) * plane->x_cols());
  for (int64_t m = 0; m < args.m; ++m) {
    const int8_t* row = args.x + m * args.x_pitch;
    const int8_t* end = row + plane->x_cols();
    const auto out = std::back_inserter(stepped.x);
    if (halves) {
      std::transform(row, end, out, [](int8_t x) { return static_cast<int8_t>(x >> kHalfBits); });
      std::transform(row, end, out, [](int8_t x) { return static_cast<int8_t>(x & 15); });
    } else {
      std::copy(row, end, out);
    }
  }
  const auto sink = [&](size_t, const StructuralResult& result, const std::vector<int64_t>& sums) {
    CheckFormula(result, 0, formula);
    stepped.digest = Digest(sums);
    Accumulate(args, plane->cols, halves ? Joined(sums, plane->cols).data() : sums.data());
  };
  StructuralArray(arch_, stuck_switch_, guard_).Run({stepped.Job()}, sink);
  if (use_timing_) stepped_.push_back(std::move(stepped));
}

void Machine::StepTogether() {
  const std::vector<ArrayStart>& starts = timing_.array_starts();
  size_t begin = 0;
  while (begin < stepped_.size()) {
    // Columns, and with them the networks, are laid out anew for another width of weights.
    size_t end = begin;
    std::vector<StructuralJob> jobs;
    const int bits = stepped_[begin].plane->mode.bits;
    for (; end < stepped_.size() && stepped_[end].plane->mode.bits == bits; ++end) {
      jobs.push_back(stepped_[end].Job());
      jobs.back().start = starts.at(end).start;
      jobs.back().visits = &starts[end].visits;
      jobs.back().depth = starts[end].depth;
      jobs.back().load = &timing_.plane_loads()[starts[end].load];
      jobs.back().load_number = starts[end].load;
    }
    const auto sink = [&](size_t job, const StructuralResult& result,
                          const std::vector<int64_t>& sums) {
      const ArrayStart& granted = starts[begin + job];
      if (result.last_start + 1 != granted.free || result.end != granted.done) {
        Fail(kSimError, "internal: matmul ", begin + job, " of the call took until cycle ",
             result.last_start + 1, " and ", result.end, "; the timing says ", granted.free,
             " and ", granted.done);
      }
      if (Digest(sums) != stepped_[begin + job].digest) {
        Fail(kSimError, "internal: matmul ", begin + job,
             " of the call has other sums when it "
             "shares the array");
      }
    };
    StructuralArray(arch_, stuck_switch_, guard_).Run(jobs, sink);
    begin = end;
  }
}

}  // namespace microscopiq
