#include "recon/plan.h"

#include <algorithm>
#include <numeric>

#include "kernels/slot.h"
#include "recon/route.h"

namespace microscopiq {
namespace {

// The reservations of one strip's networks: one repeats every period.
class Reservations {
 public:
  Reservations(int64_t period, int64_t places) : places_(places), taken_(period) {}

  // Reserves the first free cycle from `earliest` on and returns it.
  int64_t Take(int64_t earliest) {
    const int64_t period = static_cast<int64_t>(taken_.size());
    int64_t cycle = earliest;
    while (taken_[cycle % period] == places_) ++cycle;
    ++taken_[cycle % period];
    return cycle;
  }

 private:
  int64_t places_;
  std::vector<int64_t> taken_;
};

// `most` visits of an activation row to so many networks. Where each of them takes another place
// in a period of as many cycles, no more than `units` rows that start in it meet anywhere.
void SetCadence(int64_t most, int64_t units, ReconPlan* plan) {
  plan->places = most > units ? std::gcd(most, units) : units;
  if (most > units) plan->cadence = {most / plan->places, units / plan->places};
}

}  // namespace

int64_t ArrayColumns(const ArchNumbers& arch, int bits) {
  if (!arch.multi_precision) return arch.array_cols;
  return arch.array_cols * arch.pe_weight_bits / SlotBits(bits);
}

int RowCycles(const ArchNumbers& arch, int bits) {
  return SlotBits(bits) > arch.pe_weight_bits ? static_cast<int>(8 / arch.pe_activation_bits) : 1;
}

ReconShape MakeReconShape(const ArchNumbers& arch, int bits, int64_t rows, int64_t cols) {
  const int64_t columns = ArrayColumns(arch, bits);
  ReconShape shape;
  shape.rows = static_cast<int>(arch.edge_trimming ? rows : arch.array_rows);
  shape.cols = static_cast<int>(arch.edge_trimming ? cols : columns);
  // A network can't be wider than the array.
  const int64_t segment = arch.recon_segment_columns;
  shape.strip_columns = static_cast<int>(segment ? std::min(segment, columns) : columns);
  shape.ranks = 1;
  while (1 << (shape.ranks - 1) < shape.strip_columns) ++shape.ranks;
  shape.units = static_cast<int>(arch.recon_units);
  shape.skew_columns = static_cast<int>(arch.skew_columns);
  return shape;
}

int MostStrips(const ArchNumbers& arch) {
  if (!arch.recon_units) return 1;
  constexpr int kNarrowest = 2;
  return MakeReconShape(arch, kNarrowest, arch.array_rows, ArrayColumns(arch, kNarrowest)).strips();
}

void AddReconRow(const ReconShape& shape, int row, const std::vector<Outlier>& outliers,
                 StripRows* strips) {
  strips->resize(shape.strips());
  for (size_t i = 0; i < outliers.size();) {
    const int block = outliers[i].upper / kMicroBlock;
    OnePass pass;
    bool routes = true;
    for (; i < outliers.size() && outliers[i].upper / kMicroBlock == block; ++i) {
      routes = pass.Take({outliers[i].upper % kMicroBlock, outliers[i].lower % kMicroBlock});
    }
    const int passes = routes ? 1 : 2;
    std::vector<ReconRow>& strip = (*strips)[block * kMicroBlock / shape.strip_columns];
    if (strip.empty()) strip.reserve(shape.rows);
    if (strip.empty() || strip.back().row != row) strip.push_back({row, 0});
    strip.back().passes = std::max(strip.back().passes, passes);
  }
}

ReconPlan MakeReconPlan(const ReconShape& shape, const StripRows& rows) {
  ReconPlan plan;
  plan.shape = shape;
  int64_t most = 0;
  for (const std::vector<ReconRow>& strip : rows) {
    int64_t visits = 0;
    for (const ReconRow& row : strip) visits += row.passes;
    plan.visits += visits;
    plan.second_passes += visits - static_cast<int64_t>(strip.size());
    most = std::max(most, visits);
  }
  SetCadence(most, shape.units, &plan);
  plan.strips.resize(shape.strips());
  for (int strip = 0; strip < shape.strips(); ++strip) {
    Reservations reservations(plan.cadence.period, plan.places);
    if (strip < static_cast<int>(rows.size())) plan.strips[strip].reserve(2 * rows[strip].size());
    int64_t delay = 0;
    auto visit = [&](int row, int pass) {
      // One cycle after its PE worked, a value can be in a switch. The table counts at the door
      // of the network, because that is what first and second passes share.
      const int64_t there = row + 1 + delay + (pass == 0 ? shape.sync_cycles() : 0);
      const int64_t offset = reservations.Take(there);
      plan.strips[strip].push_back({row, pass, offset});
      delay = offset + shape.ranks - (row + 1);
    };
    if (strip < static_cast<int>(rows.size())) {
      for (const ReconRow& row : rows[strip]) {
        for (int pass = 0; pass < row.passes; ++pass) visit(row.row, pass);
      }
    }
    const int last_column = std::min((strip + 1) * shape.strip_columns, shape.cols) - 1;
    plan.latency = std::max(plan.latency, shape.rows - 1 + shape.Later(last_column) + delay);
  }
  return plan;
}

}  // namespace microscopiq
