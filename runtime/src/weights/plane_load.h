// When what a preload and its recon.config bring gets into a plane.
#pragma once
#include <cstdint>
#include <vector>

namespace microscopiq {

// By strip and array row, cycles in which the strip's first output column is written, less the
// column; of one strip where rows aren't handed on one by one.
struct PlaneLoad {
  int plane = 0;
  std::vector<std::vector<int64_t>> rows;
  std::vector<std::vector<int64_t>> merges;  // what ReCoN knows of the row; -1: it has no outlier
};

}  // namespace microscopiq
