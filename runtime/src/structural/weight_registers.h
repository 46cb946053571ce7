// What the weight registers of the array hold: which preload wrote each of them last, cycle by
// cycle, and the same of the rows of ReCoN's tables.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "isa.gen.h"
#include "weights/plane_load.h"

namespace microscopiq {

class WeightRegisters {
 public:
  // Columns of a strip count where loads have times for each.
  WeightRegisters(const ArchNumbers& arch, int rows, int cols, int strip_columns);

  // A preload, and its recon.config, by its number in the call; they come in that order.
  void Add(size_t number, const PlaneLoad& load);
  // Writes what is written in the cycles before this one.
  void Step(int64_t cycle);
  bool HasWeight(int plane, int row, int col, size_t number) const {
    return weights_[Place(plane, row, col)] == number + 1;
  }
  bool HasMerges(int plane, int row, int col, size_t number) const {
    return merges_[Place(plane, row, col)] == number + 1;
  }

 private:
  // A row on its way from column to column.
  struct Writer {
    int64_t cycle;  // in which its first column is written
    size_t number;
    size_t first;  // place of its first column
    int cols;
    bool merges;
    int done = 0;  // columns
  };

  size_t Place(int plane, int row, int col) const {
    return (static_cast<size_t>(plane) * rows_ + row) * cols_ + col;
  }

  int rows_;
  int cols_;
  int strip_columns_;
  int skew_columns_;
  int together_;  // columns that are written in one cycle
  bool sorted_ = true;
  std::vector<size_t> weights_, merges_;  // number of the preload, and 1; 0: none yet
  std::vector<Writer> writers_;           // by cycle
  size_t begun_ = 0;                      // writers that were reached
  std::vector<Writer> active_;
};

}  // namespace microscopiq
