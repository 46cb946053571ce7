// The rows of the weight planes: when each is loaded, and when what streams has passed it.
//
// The array rows are cut into shares, one for each weight bus, and a bus loads a row of its share
// a cycle. In a row, weights follow each other as activations do: everything in an output column
// happens as many cycles after the first column as the column's number, so times are those of the
// first column. With `row_release` a micro-block of columns is loaded at once, behind the last
// activation in the last of them.
//
// A *rank* is a cycle less the array row: an activation row has one rank as long as nothing holds
// it back.
#pragma once
#include <cstdint>
#include <vector>

#include "isa.gen.h"
#include "recon/plan.h"
#include "weights/plane_load.h"

namespace microscopiq {

// When an instruction that fills a plane is through.
struct LoadTimes {
  int64_t busy;  // cycles until the unit can start its next instruction
  int64_t end;   // when all rows are there
};

class PlaneRows {
 public:
  explicit PlaneRows(const ArchNumbers& arch);

  void Clear();
  // Whether rows are handed on one by one, so that tokens don't say when a plane is there or free.
  bool by_row() const { return by_row_; }
  // Whether `Pass` wants to know.
  bool watches() const { return by_row_ || !follows_; }
  // First cycle, `start` or later, at which a load of so many rows doesn't catch up with what
  // still streams through the plane.
  int64_t EarliestLoad(int64_t start, int plane, int rows) const;
  // Starts a load; its cycles are stored in `load` unless that is null.
  LoadTimes Load(int64_t start, int plane, int rows, PlaneLoad* load);
  // The same of the merges of the array rows with outliers; `plan` is null if there are none.
  LoadTimes Configure(int64_t start, int plane, const ReconPlan* plan, PlaneLoad* load);
  // By array row, the first rank at which an activation may get there; null if tokens say so.
  const std::vector<int64_t>* Ready(int plane) const {
    return by_row_ ? &planes_[plane].ready : nullptr;
  }
  // A matmul streams through the first `rows` rows of a plane. By array row, `passed` has the rank
  // of the last activation row, and one more for those behind the last array row.
  void Pass(int plane, int rows, const std::vector<int64_t>& passed);

 private:
  struct PlaneState {
    std::vector<int64_t> ready;   // first rank at which weights and merges are there
    std::vector<int64_t> passed;  // last rank of the activations so far, -1: none
    std::vector<int64_t> served;  // the same of the sums that left the row
  };

  const bool by_row_;
  const bool follows_;  // a bus is never faster than the activations: tokens keep loads behind them
  const int bus_rows_;  // array rows of a bus's share
  std::vector<PlaneState> planes_;
  std::vector<int64_t> weight_bus_, merge_bus_;  // when a bus is free
};

}  // namespace microscopiq
