#include "timing/plane_rows.h"

#include <algorithm>

namespace microscopiq {

PlaneRows::PlaneRows(const ArchNumbers& arch)
    : by_row_(arch.row_release),
      follows_(arch.weight_buses == 1),
      bus_rows_(static_cast<int>((arch.array_rows + arch.weight_buses - 1) / arch.weight_buses)),
      planes_(arch.weight_planes) {
  for (PlaneState& plane : planes_) {
    for (std::vector<int64_t>* times : {&plane.ready, &plane.passed, &plane.served}) {
      times->resize(arch.array_rows);
    }
  }
  weight_bus_.resize(arch.weight_buses);
  merge_bus_.resize(arch.weight_buses);
  Clear();
}

void PlaneRows::Clear() {
  for (PlaneState& plane : planes_) {
    std::fill(plane.ready.begin(), plane.ready.end(), 0);
    std::fill(plane.passed.begin(), plane.passed.end(), -1);
    std::fill(plane.served.begin(), plane.served.end(), -1);
  }
  std::fill(weight_bus_.begin(), weight_bus_.end(), 0);
  std::fill(merge_bus_.begin(), merge_bus_.end(), 0);
}

int64_t PlaneRows::EarliestLoad(int64_t start, int plane, int rows) const {
  if (by_row_ || follows_) return start;
  const std::vector<int64_t>& served = planes_[plane].served;
  for (int row = 0; row < rows; ++row) {
    // A row below a whole share of a bus is loaded sooner than activations get there.
    start = std::max(start, served[row] + row - row % bus_rows_);
  }
  return start;
}

LoadTimes PlaneRows::Load(int64_t start, int plane, int rows, PlaneLoad* load) {
  PlaneState& state = planes_[plane];
  const int busy = std::min(rows, bus_rows_);
  int64_t end = start + busy;
  if (load) load->plane = plane;
  if (load) load->rows.resize(rows);
  for (int row = 0; row < rows; ++row) {
    int64_t cycle = start + row % bus_rows_;
    if (by_row_) {
      int64_t& bus = weight_bus_[row / bus_rows_];
      cycle = std::max({start, bus, state.passed[row] + row + kMicroBlock});
      bus = cycle + 1;
      state.ready[row] = std::max(state.ready[row], cycle + 1 - row);
      end = std::max(end, bus);
    }
    if (load) load->rows[row] = cycle;
  }
  return {busy, end};
}

LoadTimes PlaneRows::Configure(int64_t start, int plane, const ReconPlan* plan, PlaneLoad* load) {
  PlaneState& state = planes_[plane];
  std::vector<uint8_t> holds(state.ready.size());
  if (plan) {
    for (const std::vector<ReconVisit>& strip : plan->strips) {
      for (const ReconVisit& visit : strip) holds[visit.row] = 1;
    }
  }
  std::vector<int64_t> of_bus(merge_bus_.size());
  int64_t busy = 1, end = start + 1;
  if (load) load->merges.assign(holds.size(), -1);
  for (size_t row = 0; row < holds.size(); ++row) {
    if (!holds[row]) continue;
    const size_t share = row / bus_rows_;
    busy = std::max(busy, ++of_bus[share]);
    // They go down their share a row a cycle, as weights do.
    int64_t cycle = start + row % bus_rows_;
    if (by_row_) {
      int64_t& bus = merge_bus_[share];
      const int64_t at = static_cast<int64_t>(row);
      cycle = std::max({start, bus, state.served[row] + at + kMicroBlock});
      bus = cycle + 1;
      state.ready[row] = std::max(state.ready[row], bus - at);
      end = std::max(end, bus);
    }
    if (load) load->merges[row] = cycle;
  }
  return {busy, std::max(end, start + busy)};
}

void PlaneRows::Pass(int plane, int rows, const std::vector<int64_t>& passed) {
  PlaneState& state = planes_[plane];
  for (int row = 0; row < rows; ++row) {
    state.passed[row] = std::max(state.passed[row], passed[row]);
    // A row is done once its sums are in the next one.
    state.served[row] = std::max(state.served[row], passed[row + 1] + 1);
  }
}

}  // namespace microscopiq
