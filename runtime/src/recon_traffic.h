// Matmuls that follow each other through ReCoN's networks.
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "recon_plan.h"

namespace microscopiq {

// A plan says when one matmul visits each network. While its last rows are still on their way,
// the next matmul, with a table of its own, may start: at the first cycle from which none of its
// visits falls on a cycle that an earlier one has taken.
class ReconTraffic {
 public:
  void Clear() { flights_.clear(); }
  // The first possible start of a matmul of m rows, `start` or later.
  int64_t EarliestStart(int64_t start, const ReconPlan& plan, int64_t m);
  void Add(int64_t start, std::shared_ptr<const ReconPlan> plan, int64_t m);

 private:
  using Bits = std::vector<uint64_t>;  // one network's cycles from some base on
  struct Flight {
    int64_t start;
    int64_t m;
    int64_t last;  // its last visit
    std::shared_ptr<const ReconPlan> plan;
  };
  // Marks the visits in [base, base + horizon) of a matmul in the networks' bits.
  static void Mark(const ReconPlan& plan, int64_t start, int64_t m, int64_t base, int64_t horizon,
                   std::vector<Bits>* networks);

  std::vector<Flight> flights_;
  std::vector<Bits> taken_, wanted_;
};

}  // namespace microscopiq
