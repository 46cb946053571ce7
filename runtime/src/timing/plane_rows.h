// The rows of the weight planes: when each is loaded, and when what streams has passed it.
//
// The array rows are cut into shares, one for each weight bus, and a bus loads a row of its share
// a cycle. In a row, weights follow each other as activations do: everything in an output column
// happens as many cycles after the first column as the column's number says (skew_columns of them
// together), so times are those of the first column. With `row_release` a micro-block of columns is
// loaded at once, behind the last activation in the last of them; each strip of ReCoN has its own
// times and its own share of every bus, since ReCoN holds back the rows of each as it must.
//
// A *rank* is a cycle less the array row: an activation row has one rank as long as nothing holds
// it back.
#pragma once
#include <cstdint>
#include <vector>

#include "isa.gen.h"
#include "recon/traffic.h"
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
  // By strip and array row, the first rank at which an activation may get there, for one strip
  // while all are alike; null if tokens say so.
  const std::vector<Ranks>* Ready(int plane) const {
    return by_row_ ? &planes_[plane].ready : nullptr;
  }
  // A matmul streams through the first `rows` rows of a plane. By strip (one, if all are alike) and
  // array row, `passed` has
  // the rank of the last activation row, and one more for those behind the last array row.
  void Pass(int plane, int rows, const std::vector<Ranks>& passed);

 private:
  // By strip and array row; of one strip while all are alike.
  struct PlaneState {
    std::vector<Ranks> ready;   // first rank at which weights and merges are there
    std::vector<Ranks> passed;  // last rank of the activations so far, -1: none
    std::vector<Ranks> served;  // the same of the sums that left the row
  };

  // The cycles that loads on their way take of a bus: a row that waits for what streams leaves its
  // turn to those of the other planes.
  class Bus {
   public:
    // What of one kind it brings in a cycle.
    explicit Bus(size_t width = 1) : width_(width) {}
    // The first cycle from `earliest` on that has room is taken; `start` is that of the load.
    int64_t Take(int64_t start, int64_t earliest);
    void Clear() { taken_.clear(); }

   private:
    size_t width_;
    std::vector<int64_t> taken_;  // ascending, from the last load's start on
  };

  // Strips have states of their own from now on.
  void Differ();

  bool alike_ = true;  // all strips have the state of the first one, whose buses alone are kept
  const bool by_row_;
  const bool follows_;  // a bus is never faster than the activations: tokens keep loads behind them
  const int bus_rows_;  // array rows of a bus's share
  std::vector<PlaneState> planes_;
  // By strip, its shares of the buses; of what goes with outliers a bus brings a few strips' a
  // cycle.
  std::vector<std::vector<Bus>> weight_bus_;
  std::vector<Bus> merge_bus_;
  const int skew_columns_;
  const int strip_cycles_;  // from a strip's first column to the next one's
  const int block_cycles_;  // from a micro-block's first column to the next one's
};

}  // namespace microscopiq
