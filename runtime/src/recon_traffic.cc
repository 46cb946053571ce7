#include "recon_traffic.h"

#include <algorithm>

namespace microscopiq {
namespace {

constexpr int64_t kWord = 64;

int64_t LastOffset(const ReconPlan& plan) {
  int64_t last = 0;
  for (const auto& strip : plan.strips) {
    for (const ReconVisit& visit : strip) last = std::max(last, visit.offset);
  }
  return last;
}

// Whether two sets of cycles meet when the second is moved `shift` cycles later.
bool Meet(const std::vector<uint64_t>& taken, const std::vector<uint64_t>& wanted, int64_t shift) {
  const int64_t words = shift / kWord, bits = shift % kWord;
  for (int64_t i = words; i < static_cast<int64_t>(taken.size()); ++i) {
    uint64_t moved = wanted[i - words] << bits;
    if (bits && i > words) moved |= wanted[i - words - 1] >> (kWord - bits);
    if (taken[i] & moved) return true;
  }
  return false;
}

}  // namespace

void ReconTraffic::Mark(const ReconPlan& plan, int64_t start, int64_t m, int64_t base,
                        int64_t horizon, std::vector<Bits>* networks) {
  for (size_t strip = 0; strip < plan.strips.size(); ++strip) {
    for (const ReconVisit& visit : plan.strips[strip]) {
      const size_t network = visit.unit * plan.strips.size() + strip;
      if (network >= networks->size()) networks->resize(network + 1);
      Bits& bits = (*networks)[network];
      bits.resize((horizon + kWord - 1) / kWord);
      const int64_t first = start + visit.offset;
      const int64_t skipped = first < base ? (base - first + plan.turns - 1) / plan.turns : 0;
      for (int64_t row = skipped; row < m; ++row) {
        const int64_t cycle = first + row * plan.turns - base;
        if (cycle >= horizon) break;
        bits[cycle / kWord] |= uint64_t{1} << (cycle % kWord);
      }
    }
  }
}

int64_t ReconTraffic::EarliestStart(int64_t start, const ReconPlan& plan, int64_t m) {
  int64_t last = start - 1;
  for (const Flight& flight : flights_) last = std::max(last, flight.last);
  const int64_t horizon = last - start + 1;
  if (horizon <= 0) return start;
  taken_.clear();
  wanted_.clear();
  for (const Flight& flight : flights_) {
    Mark(*flight.plan, flight.start, flight.m, start, horizon, &taken_);
  }
  Mark(plan, start, m, start, horizon, &wanted_);
  const size_t networks = std::min(taken_.size(), wanted_.size());
  for (int64_t shift = 0; shift < horizon; ++shift) {
    bool free = true;
    for (size_t n = 0; n < networks && free; ++n) {
      if (!taken_[n].empty() && !wanted_[n].empty()) free = !Meet(taken_[n], wanted_[n], shift);
    }
    if (free) return start + shift;
  }
  return start + horizon;
}

void ReconTraffic::Add(int64_t start, std::shared_ptr<const ReconPlan> plan, int64_t m) {
  const auto over = [&](const Flight& flight) { return flight.last < start; };
  flights_.erase(std::remove_if(flights_.begin(), flights_.end(), over), flights_.end());
  const int64_t last = start + (m - 1) * plan->turns + LastOffset(*plan);
  flights_.push_back({start, m, last, std::move(plan)});
}

}  // namespace microscopiq
