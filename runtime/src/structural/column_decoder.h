// The decoder in front of an array column of FineQ's machine, as the structural mode steps it.
#pragma once
#include <cstdint>

namespace microscopiq {

// Takes a group of clusters and gives one weight a cycle, which goes down to its array row.
class ColumnDecoder {
 public:
  // `group` has `rows` weights, of which the first `skip` aren't wanted.
  void Take(const uint8_t* group, int rows, int skip);
  bool empty() const { return next_ == rows_; }
  // The sign on top of a magnitude of 3 bits, as wide as a PE's slot that multiplies.
  uint8_t Next();

 private:
  uint64_t bits_ = 0;
  int rows_ = 0;
  int next_ = 0;
};

}  // namespace microscopiq
