#include "timing/plane_rows.h"

#include <algorithm>

namespace microscopiq {
namespace {

// Cycles that a bus remembers at least.
constexpr size_t kForget = 64;

}  // namespace

PlaneRows::PlaneRows(const ArchNumbers& arch)
    : by_row_(arch.row_release),
      follows_(arch.weight_buses == 1),
      bus_rows_(static_cast<int>((arch.array_rows + arch.weight_buses - 1) / arch.weight_buses)),
      planes_(arch.weight_planes),
      skew_columns_(static_cast<int>(arch.skew_columns)),
      strip_cycles_(static_cast<int>(arch.recon_segment_columns) / skew_columns_),
      block_cycles_(kMicroBlock / skew_columns_) {
  const size_t strips = by_row_ ? MostStrips(arch) : 1;
  const Ranks rows(arch.array_rows);
  for (PlaneState& plane : planes_) {
    for (std::vector<Ranks>* times : {&plane.ready, &plane.passed, &plane.served}) {
      times->assign(1, rows);
    }
  }
  weight_bus_.assign(strips, std::vector<Bus>(arch.weight_buses));
  merge_bus_.assign(arch.weight_buses, Bus(arch.merge_strips));
  Clear();
}

void PlaneRows::Clear() {
  const auto fill = [](std::vector<Ranks>* strips, int64_t value) {
    for (Ranks& strip : *strips) std::fill(strip.begin(), strip.end(), value);
  };
  for (PlaneState& plane : planes_) {
    for (std::vector<Ranks>* times : {&plane.ready, &plane.passed, &plane.served}) {
      times->resize(1);
    }
    fill(&plane.ready, 0);
    fill(&plane.passed, -1);
    fill(&plane.served, -1);
  }
  for (std::vector<Bus>& buses : weight_bus_) {
    for (Bus& bus : buses) bus.Clear();
  }
  for (Bus& bus : merge_bus_) bus.Clear();
  alike_ = true;
}

void PlaneRows::Differ() {
  if (!alike_) return;
  alike_ = false;
  const size_t strips = weight_bus_.size();
  std::fill(weight_bus_.begin() + 1, weight_bus_.end(), weight_bus_[0]);
  for (PlaneState& plane : planes_) {
    for (std::vector<Ranks>* times : {&plane.ready, &plane.passed, &plane.served}) {
      times->resize(strips, times->front());
    }
  }
}

int64_t PlaneRows::Bus::Take(int64_t start, int64_t earliest) {
  // What is before `start` is never asked for again; forgetting it each time would take longer.
  if (taken_.size() > kForget) {
    taken_.erase(taken_.begin(), std::lower_bound(taken_.begin(), taken_.end(), start));
  }
  if (taken_.empty() || taken_.back() < earliest) {
    taken_.push_back(earliest);
    return earliest;
  }
  auto place = std::lower_bound(taken_.begin(), taken_.end(), earliest);
  for (size_t here = 0; place != taken_.end() && *place <= earliest; ++place) {
    if (++here < width_) continue;
    ++earliest, here = 0;
  }
  taken_.insert(place, earliest);
  return earliest;
}

int64_t PlaneRows::EarliestLoad(int64_t start, int plane, int rows) const {
  if (by_row_ || follows_) return start;
  const Ranks& served = planes_[plane].served[0];
  for (int row = 0; row < rows; ++row) {
    // A row below a whole share of a bus is loaded sooner than activations get there.
    start = std::max(start, served[row] + row - row % bus_rows_);
  }
  return start;
}

LoadTimes PlaneRows::Load(int64_t start, int plane, int rows, PlaneLoad* load) {
  PlaneState& state = planes_[plane];
  const size_t strips = weight_bus_.size();
  const int busy = std::min(rows, bus_rows_);
  int64_t end = start + busy;
  if (load) load->plane = plane;
  if (load) load->rows.assign(strips, std::vector<int64_t>(rows));
  for (size_t strip = 0; strip < strips; ++strip) {
    if (alike_ && strip > 0) {
      if (!load) break;
      load->rows[strip] = load->rows[0];
      continue;
    }
    for (int row = 0; row < rows; ++row) {
      int64_t cycle = start + row % bus_rows_;
      if (by_row_) {
        const int64_t passed = state.passed[strip][row] + row + block_cycles_;
        cycle = weight_bus_[strip][row / bus_rows_].Take(start, std::max(start, passed));
        int64_t& ready = state.ready[strip][row];
        ready = std::max(ready, cycle + 1 - row);
        end = std::max(end, cycle + 1);
      }
      if (load) load->rows[strip][row] = cycle;
    }
  }
  return {busy, end};
}

LoadTimes PlaneRows::Configure(int64_t start, int plane, const ReconPlan* plan, PlaneLoad* load) {
  Differ();
  PlaneState& state = planes_[plane];
  const size_t strips = weight_bus_.size(), rows = state.ready[0].size();
  // By array row, and the same of each strip that has times of its own.
  std::vector<uint8_t> any(rows);
  std::vector<std::vector<uint8_t>> holds(strips, any);
  for (size_t strip = 0; plan && strip < plan->strips.size(); ++strip) {
    for (const ReconVisit& visit : plan->strips[strip]) {
      any[visit.row] = holds[std::min(strip, strips - 1)][visit.row] = 1;
    }
  }
  std::vector<int64_t> of_bus(merge_bus_.size());
  int64_t busy = 1;
  for (size_t row = 0; row < rows; ++row) {
    if (any[row]) busy = std::max(busy, ++of_bus[row / bus_rows_]);
  }
  int64_t end = start + busy;
  if (load) load->merges.assign(strips, std::vector<int64_t>(rows, -1));
  for (size_t strip = 0; strip < strips; ++strip) {
    for (size_t row = 0; row < rows; ++row) {
      if (!holds[strip][row]) continue;
      // They go down their share a row a cycle, as weights do.
      int64_t cycle = start + row % bus_rows_;
      if (by_row_) {
        const int64_t at = static_cast<int64_t>(row);
        // A strip's times are those of the first column: its own are as many cycles later.
        const int64_t later = static_cast<int64_t>(strip) * strip_cycles_;
        const int64_t served = state.served[strip][row] + at + block_cycles_;
        Bus& bus = merge_bus_[row / bus_rows_];
        cycle = bus.Take(start, std::max(start, served) + later) - later;
        int64_t& ready = state.ready[strip][row];
        ready = std::max(ready, cycle + 1 - at);
        end = std::max(end, cycle + 1);
      }
      if (load) load->merges[strip][row] = cycle;
    }
  }
  return {busy, end};
}

void PlaneRows::Pass(int plane, int rows, const std::vector<Ranks>& passed) {
  PlaneState& state = planes_[plane];
  const auto other = [&](const Ranks& ranks) { return ranks != passed[0]; };
  // All strips are released together where rows aren't.
  if (by_row_ && std::any_of(passed.begin(), passed.end(), other)) Differ();
  const size_t own = state.passed.size(), told = alike_ && by_row_ ? 1 : passed.size();
  for (size_t strip = 0; strip < std::max(own, told); ++strip) {
    const Ranks& last = OfStrip(passed, strip);
    const size_t of = std::min(strip, own - 1);
    for (int row = 0; row < rows; ++row) {
      state.passed[of][row] = std::max(state.passed[of][row], last[row]);
      // A row is done once its sums are in the next one.
      state.served[of][row] = std::max(state.served[of][row], last[row + 1] + 1);
    }
  }
}

}  // namespace microscopiq
