#include "structural/weight_registers.h"

#include <algorithm>

namespace microscopiq {

WeightRegisters::WeightRegisters(const ArchNumbers& arch, int rows, int cols)
    : rows_(rows), cols_(cols), together_(arch.row_release ? kMicroBlock : 1) {
  const size_t count = Place(static_cast<int>(arch.weight_planes), 0, 0);
  weights_.assign(count, 0);
  merges_.assign(count, 0);
}

void WeightRegisters::Add(size_t number, const PlaneLoad& load) {
  const auto add = [&](const std::vector<int64_t>& cycles, bool merges) {
    const int known = std::min(rows_, static_cast<int>(cycles.size()));
    for (int row = 0; row < known; ++row) {
      if (cycles[row] < 0) continue;
      writers_.push_back({cycles[row], number, Place(load.plane, row, 0), merges});
    }
  };
  add(load.rows, false);
  add(load.merges, true);
  sorted_ = false;
}

void WeightRegisters::Step(int64_t cycle) {
  if (!sorted_) {
    std::stable_sort(writers_.begin(), writers_.end(),
                     [](const Writer& a, const Writer& b) { return a.cycle < b.cycle; });
    sorted_ = true;
  }
  while (begun_ < writers_.size() && writers_[begun_].cycle < cycle) {
    active_.push_back(writers_[begun_++]);
  }
  for (Writer& writer : active_) {
    std::vector<size_t>& registers = writer.merges ? merges_ : weights_;
    const int64_t steps = 1 + (cycle - 1 - writer.cycle) / together_;
    const int until = static_cast<int>(std::min<int64_t>(cols_, steps * together_));
    for (; writer.done < until; ++writer.done) {
      registers[writer.first + writer.done] = writer.number + 1;
    }
  }
  active_.erase(std::remove_if(active_.begin(), active_.end(),
                               [&](const Writer& writer) { return writer.done == cols_; }),
                active_.end());
}

}  // namespace microscopiq
