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
};

// Cycles less the array row, by array row.
using Ranks = std::vector<int64_t>;

// What else to tell of a matmul that starts; what is null isn't told.
struct ReconNotes {
  std::vector<std::vector<ReconVisit>>* visits = nullptr;  // by strip
  // When the last activation row gets to each array row, and when its sums are behind the last one.
  Ranks* passed = nullptr;
};

// A plan is what a matmul needs when it has the array to itself. While the rows of earlier ones
// are still on their way, a visit also waits until its network is free of them at each of its
// cycles; no row of the array may be reached before the earlier ones have left it, and buffers
// and sums keep their order. The sums of a short plane may go on down through rows below it, whose
// weights count as 0, so that they leave behind those of a tall one without waiting at the start.
class ReconTraffic {
 public:
  explicit ReconTraffic(int array_rows) : array_rows_(array_rows) {}

  void Clear();
  // Whether ReCoN holds back what is on its way.
  bool delays() const { return delays_; }
  // First cycle, `start` or later, at which a matmul may start; `plan` is null without outliers.
  // `ready` has the first cycle, less the array row, at which activations may get to each row of
  // its plane; null: at any.
  int64_t EarliestStart(int64_t start, const ReconPlan* plan, int rows, const Ranks* ready) const {
    return Enter(start, plan, rows, ready).start;
  }
  // Starts a matmul of m activation rows; latency counts for its plan only.
  ReconGrant Reserve(int64_t start, const ReconPlan* plan, int rows, int64_t m, const Ranks* ready,
                     const ReconNotes& notes);

 private:
  struct Entry {
    int64_t start;
    int depth;
  };
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
    // For matmuls that visit every `turns` cycles.
    void Draw(const std::vector<Series>& network, int64_t start, int64_t turns);
    bool Meets(const Series& wanted) const;
    // First cycle, `cycle` or later, at which a series may start that goes on for longer than what
    // was drawn; INT64_MAX if there is none.
    int64_t FirstFree(int64_t cycle) const;
    // A visit of the new matmul: its visits repeat alike, and meet if they share a residue.
    void Keep(const Series& series);
    int64_t end() const { return end_; }

   private:
    int64_t start_ = 0, turns_ = 1;
    static bool Has(const std::vector<uint64_t>& bits, uint64_t place) {
      return bits[place / 64] >> (place % 64) & 1;
    }
    // Of the cycles since the start, which are few: 32 bits divide faster.
    int64_t ResidueOf(int64_t cycle) const {
      const uint64_t since = cycle - start_;
      if (since <= UINT32_MAX) return static_cast<uint32_t>(since) % static_cast<uint32_t>(turns_);
      return static_cast<int64_t>(since % turns_);
    }

    int64_t end_ = 0;               // the first cycle after all of them
    std::vector<uint64_t> taken_;   // by cycle from `start_` on
    std::vector<uint64_t> within_;  // whether that cycle or any some turns later is taken
    std::vector<uint64_t> own_;     // by residue, the new matmul's own visits
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
  Entry Enter(int64_t start, const ReconPlan* plan, int rows, const Ranks* ready) const;
  // The same when what holds whatever the depth lets it start at `start`.
  Entry GoDeeper(int64_t start, const ReconPlan* plan, int rows, int64_t exit) const;
  size_t Strips(const ReconPlan* plan) const;
  const Ahead& AheadOf(size_t strip) const;
  void ReserveStrip(const Entry& entry, const ReconPlan& plan, size_t strip, int64_t m,
                    const Ranks* ready, std::vector<ReconVisit>* granted);
  // Of the matmul that came last, which started its last row at `last`.
  void TellPassed(size_t strips, int depth, int64_t last, Ranks* passed) const;
  // Moves a series to the first cycle, in a residue that the strip's own visits leave free, at
  // which one of its networks is free; returns which one.
  int Take(Series* wanted, size_t strip, const ReconPlan& plan);
  void Forget(int64_t before);

  const int array_rows_;
  bool delays_ = false;
  std::vector<Ahead> ahead_;                   // by strip, of those that any plan had
  Ahead bare_;                                 // in the other strips
  std::vector<std::vector<Series>> networks_;  // by strip and unit
  // Of the strip whose visits are being granted:
  std::vector<Taken> taken_;  // by unit
};

}  // namespace microscopiq
