// When what a preload and its recon.config bring gets into a plane.
#pragma once
#include <cstdint>
#include <vector>

namespace microscopiq {

// By array row, cycles in which the first output column is written.
struct PlaneLoad {
  int plane = 0;
  std::vector<int64_t> rows;
  std::vector<int64_t> merges;  // what ReCoN knows of the row; -1: it has no outlier
};

}  // namespace microscopiq
