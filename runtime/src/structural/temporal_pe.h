// Temporal coding (FineQ): a weight is a pulse as long as its magnitude, and a PE has no
// multiplier.
#pragma once
#include <cstdint>

namespace microscopiq {

// A sign-controlled adder in the way of a column's sums.
class TemporalPe {
 public:
  // A slot of 4 bits: the sign on top of a magnitude up to 3.
  void Load(int slot) {
    negative_ = slot >> 3 & 1;
    pulse_ = slot & 3;
  }

  int pulse() const { return pulse_; }
  // Whether the pulse lasts in one of the cycles of an activation row, counted from 0.
  bool Adds(int cycle) const { return cycle < pulse_; }
  // The sum that goes on down in that cycle.
  int64_t Add(int64_t sum, int8_t x, int cycle) const {
    if (!Adds(cycle)) return sum;
    return negative_ ? sum - x : sum + x;
  }

 private:
  bool negative_ = false;
  int pulse_ = 0;
};

}  // namespace microscopiq
