#include "structural/weight_registers.h"

#include <algorithm>

namespace microscopiq {

WeightRegisters::WeightRegisters(const ArchNumbers& arch, int rows, int cols, int strip_columns)
    : rows_(rows),
      cols_(cols),
      strip_columns_(strip_columns),
      skew_columns_(static_cast<int>(arch.skew_columns)),
      together_(arch.row_release ? kMicroBlock : skew_columns_) {
  const size_t count = Place(static_cast<int>(arch.weight_planes), 0, 0);
  weights_.assign(count, 0);
  merges_.assign(count, 0);
}

void WeightRegisters::Add(size_t number, const PlaneLoad& load) {
  const auto add = [&](const std::vector<std::vector<int64_t>>& strips, bool merges) {
    const int width = strips.size() > 1 ? strip_columns_ : cols_;
    for (size_t strip = 0; strip < strips.size(); ++strip) {
      const int first = static_cast<int>(strip) * width;
      const int cols = std::min(width, cols_ - first);
      const int known = std::min(rows_, static_cast<int>(strips[strip].size()));
      for (int row = 0; row < known && cols > 0; ++row) {
        const int64_t cycle = strips[strip][row];
        if (cycle < 0) continue;
        writers_.push_back(
            {cycle + first / skew_columns_, number, Place(load.plane, row, first), cols, merges});
      }
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
    const int64_t steps = 1 + (cycle - 1 - writer.cycle) * skew_columns_ / together_;
    const int until = static_cast<int>(std::min<int64_t>(writer.cols, steps * together_));
    for (; writer.done < until; ++writer.done) {
      registers[writer.first + writer.done] = writer.number + 1;
    }
  }
  active_.erase(std::remove_if(active_.begin(), active_.end(),
                               [&](const Writer& writer) { return writer.done == writer.cols; }),
                active_.end());
}

}  // namespace microscopiq
