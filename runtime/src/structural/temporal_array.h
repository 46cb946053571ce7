// An array of temporal PEs, stepped cycle by cycle: the judge of the fast mode's values and cycles.
//
// An activation row stays for as many cycles as the longest pulse, and in each of them every PE
// adds its activation while its own pulse lasts. So a column gives as many sums as there are
// cycles; an adder at its exit makes them one.
#pragma once
#include <cstdint>
#include <vector>

#include "guard.h"
#include "structural/temporal_pe.h"

namespace microscopiq {

class TemporalArray {
 public:
  // `row_cycles`: how long an activation row stays if a pulse is longer than one cycle.
  TemporalArray(int rows, int cols, int row_cycles);

  // A code as `ColumnDecoder` gives it.
  void Load(int row, int col, int code);
  // Streams `m` activation rows of `inputs`, up to all array rows; the others get zeros.
  // Returns the cycles until the last sum is there. A guard that isn't null is told of each cycle.
  int64_t Stream(const int8_t* x, int64_t x_pitch, int inputs, int m, Guard* guard);
  // (m, cols), after `Stream`.
  const std::vector<int64_t>& sums() const { return sums_; }
  // Cycles from the first activation row's start to the end of the last one's.
  int64_t busy() const { return busy_; }
  int64_t adds() const { return adds_; }

 private:
  // An activation or a sum on its way, with the row and the row's cycle that it belongs to.
  struct Word {
    bool there = false;
    int m = 0;
    int cycle = 0;
    int64_t value = 0;
  };
  struct Rows {
    const int8_t* x;
    int64_t pitch;
    int inputs;
    int count;
  };

  void Step(int64_t now, const Rows& rows);
  Word Feed(int64_t now, int row, const Rows& rows) const;
  void Collect(int column, const Word& sum);

  int rows_;
  int cols_;
  int row_cycles_;
  int stay_ = 1;  // cycles of an activation row with the weights that are loaded
  std::vector<TemporalPe> pes_;
  std::vector<Word> activations_;  // registers to the right of the PEs
  std::vector<Word> partial_;      // registers below the PEs
  std::vector<Word> exits_;        // what the exit adders have of a row
  std::vector<int64_t> sums_;
  int64_t left_ = 0;  // sums still on their way
  int64_t busy_ = 0;
  int64_t adds_ = 0;
};

}  // namespace microscopiq
