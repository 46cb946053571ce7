// Matmuls that follow each other through the array and ReCoN's networks.
#pragma once
#include <cstdint>
#include <utility>
#include <vector>

#include "recon_plan.h"

namespace microscopiq {

// What a matmul gets when it starts among others.
struct ReconGrant {
  int64_t latency = 0;  // cycles from its last activation row's start to its last sum
  int64_t delay = 0;    // what ReCoN holds its rows back at most
};

// A plan is what a matmul needs when it has the array to itself. While the rows of earlier ones
// are still on their way, a visit also waits until its network is free of them at each of its
// cycles, and no row of the array may be reached before the earlier ones have left it.
class ReconTraffic {
 public:
  void Clear();
  // Whether ReCoN holds back what is on its way.
  bool delays() const { return delays_; }
  // First cycle, `start` or later, at which a matmul may start; `plan` is null without outliers.
  int64_t EarliestStart(int64_t start, const ReconPlan* plan, int rows) const;
  // Starts a matmul of m activation rows; latency counts for its plan only. Its visits by strip
  // are stored in `visits` unless that is null.
  ReconGrant Reserve(int64_t start, const ReconPlan* plan, int rows, int64_t m,
                     std::vector<std::vector<ReconVisit>>* visits = nullptr);

 private:
  // Visits of one array row to one network: `count` of them, `turns` cycles apart.
  struct Series {
    int64_t first;
    int64_t turns;
    int64_t count;

    int64_t last() const { return first + (count - 1) * turns; }
  };
  // The cycles of a network that earlier matmuls have taken, from the start of a new one on: few,
  // because by then the last of their activation rows are on their way.
  class Taken {
   public:
    void Draw(const std::vector<Series>& network, int64_t start);
    bool Meets(const Series& wanted) const;

   private:
    int64_t start_ = 0;
    int64_t end_ = 0;             // the first cycle after all of them
    std::vector<uint64_t> bits_;  // by cycle from `start_` on
  };
  // The matmul that was last in a strip.
  struct Ahead {
    int64_t last = -1;  // start of its last activation row
    int rows = 0;
    std::vector<std::pair<int, int64_t>> steps;  // (row, delay behind it), ascending

    int64_t DelayAt(int row) const;
    int64_t delay() const { return steps.empty() ? 0 : steps.back().second; }
  };

  const Ahead& AheadIn(size_t strip) const {
    return strip < ahead_.size() ? ahead_[strip] : elsewhere_;
  }
  // Delay that a matmul starting at `start` must have when it reaches `row`, and at its exit.
  static int64_t Needed(const Ahead& ahead, int64_t start, int row);
  static int64_t NeededAtExit(const Ahead& ahead, int64_t start, int rows);
  int64_t ReserveStrip(int64_t start, const ReconPlan& plan, size_t strip, int64_t m,
                       std::vector<ReconVisit>* granted);
  // Moves a series to the first cycle, in a residue that the strip's own visits leave free, at
  // which one of its networks is free; returns which one.
  int Take(Series* wanted, size_t strip, const ReconPlan& plan);
  void Forget(int64_t before);

  bool delays_ = false;
  std::vector<Ahead> ahead_;                   // by strip
  Ahead elsewhere_;                            // in the strips that no plan has named yet
  std::vector<std::vector<Series>> networks_;  // by strip and unit
  // Of the strip whose visits are being granted:
  std::vector<Taken> taken_;     // by unit
  std::vector<uint64_t> table_;  // units taken by the strip's own visits, by residue
};

}  // namespace microscopiq
