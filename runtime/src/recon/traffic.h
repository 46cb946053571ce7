// Matmuls that follow each other through the array and ReCoN's networks.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "recon/plan.h"

namespace microscopiq {

// What a matmul gets when it starts among others.
struct ReconGrant {
  int64_t latency = 0;  // cycles from its last activation row's start to its last sum
  int64_t delay = 0;    // what ReCoN holds its rows back at most
  int depth = 0;        // array rows that its sums go through
  int64_t waits = 0;    // array rows without outliers that go through ReCoN, by strip
};

// Cycles less the array row, by array row.
using Ranks = std::vector<int64_t>;

// Those of a strip; one entry stands for all strips while these are alike.
inline const Ranks& OfStrip(const std::vector<Ranks>& strips, size_t strip) {
  return strips[strip < strips.size() ? strip : 0];
}

// What else to tell of a matmul that starts; what is null isn't told.
struct ReconNotes {
  std::vector<std::vector<ReconVisit>>* visits = nullptr;  // by strip
  // By strip, or once if all are alike: when the last activation row gets to each array row, and
  // when its sums are behind the last one.
  std::vector<Ranks>* passed = nullptr;
};

// A plan is what a matmul needs when it has the array to itself. While the rows of earlier ones
// are still on their way, a visit also waits until its network is free of them at each of its
// cycles; no row of the array may be reached before the earlier ones have left it, and buffers
// and sums keep their order. The sums of a short plane may go on down through rows below it, whose
// weights count as 0, so that they leave behind those of a tall one without waiting at the start.
// Where rows `may_wait`, one without outliers goes through a network too, if that keeps it behind
// the earlier matmuls: else all rows before a strip's first visit have to start later.
class ReconTraffic {
 public:
  ReconTraffic(int array_rows, int strips, bool may_wait)
      : array_rows_(array_rows), may_wait_(may_wait), ahead_(strips), networks_(strips) {}

  void Clear();
  // Whether ReCoN holds back what is on its way.
  bool delays() const { return delays_; }
  // First cycle, `start` or later, at which a matmul of m activation rows may start; `plan` is null
  // without outliers. `ready` has, by strip, the first cycle, less the array row, at which
  // activations may get to each row of its plane; null: at any.
  int64_t EarliestStart(int64_t start, const ReconPlan* plan, int rows, int64_t m,
                        const std::vector<Ranks>* ready) const {
    return Enter(start, plan, rows, m, ready).start;
  }
  // Starts a matmul; latency counts for its plan only.
  ReconGrant Reserve(int64_t start, const ReconPlan* plan, int rows, int64_t m,
                     const std::vector<Ranks>* ready, const ReconNotes& notes);

 private:
  struct Entry {
    int64_t start;
    int depth;
  };
  // Visits of one array row, one for each activation row.
  struct Series {
    int64_t first;
    Cadence cadence;
    int64_t count;

    int64_t at(int64_t row) const { return first + cadence.Start(row); }
    int64_t last() const { return at(count - 1); }
  };
  // The visits to a strip's networks from the start of a new matmul on: few cycles, because by then
  // the last activation rows of earlier ones are on their way.
  class Taken {
   public:
    // If there are `few` activation rows, all their cycles are drawn and no residue is theirs.
    void Draw(const std::vector<Series>& earlier, int64_t start, const ReconPlan& plan, bool few);
    // Moves a series to the first cycle at which it finds a network each time.
    void Place(Series* wanted);

   private:
    bool Meets(const Series& wanted) const;
    // Counts what it visits in the cycles that are drawn.
    void Add(const Series& series);
    int64_t end() const { return start_ + static_cast<int64_t>(visits_.size()); }
    int64_t start_ = 0, units_ = 0, places_ = 0;
    bool few_ = false;
    std::vector<int64_t> visits_;  // by cycle from `start_` on
    std::vector<int64_t> own_;     // by residue of the period, the new matmul's visits
  };
  // What the matmuls so far leave in a strip. Array rows past a short tile keep what an earlier
  // one left there. Times are those of its first column; -1 is before all.
  struct Ahead {
    // By array row: when the last activation row gets there, less the row.
    std::vector<int64_t> reached;
    int64_t latest = -1;  // of `reached`
    // By array row: its last first pass and its last final one.
    std::vector<int64_t> first_pass, final_pass;
    int64_t exit = -1;  // last sum
    int64_t delay = 0;  // of the last matmul

    void Grow(int rows);
    // Delay that a matmul which starts at `start` must have in the array rows from `begin` to
    // `end` - 1; with `at_exit` also when its sum leaves the last of them.
    int64_t Needed(int64_t start, int begin, int end, bool at_exit) const;
    // First cycle after all have left an array row, less the row.
    int64_t FreeFrom(int row) const;
    // A matmul gets from row `begin` to `end` - 1; `since` is its last start plus its delay.
    void Reach(int begin, int end, int64_t since);
    void Leave(int rows, int64_t last, int64_t final_delay);
  };

  // The least depth of those that let a matmul start soonest.
  Entry Enter(int64_t start, const ReconPlan* plan, int rows, int64_t m,
              const std::vector<Ranks>* ready) const;
  // The same when what holds whatever the depth lets it start at `start`.
  Entry GoDeeper(int64_t start, const ReconPlan* plan, int rows, int64_t m, int64_t exit) const;
  // Places of a strip's networks for rows that only wait.
  int64_t Spare(const ReconPlan* plan, size_t strip, int64_t m) const;
  // By array row, and for what is behind the last one, the delay to get there with.
  std::vector<int64_t> DelaysNeeded(const Entry& entry, const ReconPlan& plan, size_t strip,
                                    const std::vector<Ranks>* ready) const;
  void ReserveStrip(const Entry& entry, const ReconPlan& plan, size_t strip, int64_t m,
                    const std::vector<Ranks>* ready, std::vector<ReconVisit>* granted);
  // Of the matmul that came last, which started its last row at `last`.
  void TellPassed(int depth, int64_t last, std::vector<Ranks>* passed) const;
  void Forget(int64_t before);
  const Ahead& AheadOf(size_t strip) const { return ahead_[alike_ ? 0 : strip]; }
  // Strips have states of their own from now on.
  void Differ();

  const int array_rows_;
  const bool may_wait_;
  bool delays_ = false;
  bool alike_ = true;  // no visit yet: all strips have the state of the first one, kept alone
  std::vector<Ahead> ahead_;                   // by strip
  std::vector<std::vector<Series>> networks_;  // by strip, of the matmuls on their way
  Taken taken_;                                // of the strip whose visits are being granted
};

}  // namespace microscopiq
