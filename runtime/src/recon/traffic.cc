#include "recon/traffic.h"

#include <algorithm>
#include <numeric>

namespace microscopiq {
namespace {

// Sets each bit whose `shift`-th later one is set.
void MergeLater(int64_t shift, std::vector<uint64_t>* bits) {
  const size_t words = shift / 64, rest = shift % 64;
  for (size_t i = 0; i + words < bits->size(); ++i) {
    uint64_t later = (*bits)[i + words] >> rest;
    if (rest && i + words + 1 < bits->size()) later |= (*bits)[i + words + 1] << (64 - rest);
    (*bits)[i] |= later;
  }
}

// The first bit from `begin` on that isn't set; past the last one if there is none.
int64_t NextClear(const std::vector<uint64_t>& bits, uint64_t begin) {
  size_t word = begin / 64;
  if (word == bits.size()) return static_cast<int64_t>(begin);
  uint64_t clear = ~bits[word] & ~uint64_t{0} << begin % 64;
  while (!clear) {
    if (++word == bits.size()) return static_cast<int64_t>(word) * 64;
    clear = ~bits[word];
  }
  return static_cast<int64_t>(word) * 64 + __builtin_ctzll(clear);
}

// The latest of some array rows; -1 if there is none.
int64_t Latest(const Ranks* ready, int begin, int end) {
  if (!ready || begin >= end) return -1;
  return *std::max_element(ready->begin() + begin, ready->begin() + end);
}

bool Visits(const ReconPlan* plan, size_t strip) {
  return plan && strip < plan->strips.size() && !plan->strips[strip].empty();
}

}  // namespace

void ReconTraffic::Clear() {
  delays_ = false;
  ahead_.clear();
  bare_ = {};
  networks_.clear();
}

void ReconTraffic::Ahead::Grow(int rows) {
  if (static_cast<size_t>(rows) <= reached.size()) return;
  for (std::vector<int64_t>* times : {&reached, &first_pass, &final_pass}) times->resize(rows, -1);
}

int64_t ReconTraffic::Ahead::Needed(int64_t start, int begin, int end, bool at_exit) const {
  int64_t needed = at_exit ? exit + 1 - start - (end - 1) : 0;
  // Mostly all have gone.
  if (latest < start) return needed;
  const int known = std::min(end, static_cast<int>(reached.size()));
  for (int row = begin; row < known; ++row) needed = std::max(needed, reached[row] + 1 - start);
  return needed;
}

void ReconTraffic::Ahead::Reach(int begin, int end, int64_t since) {
  std::fill(reached.begin() + begin, reached.begin() + end, since);
}

void ReconTraffic::Ahead::Leave(int rows, int64_t last, int64_t final_delay) {
  latest = *std::max_element(reached.begin(), reached.end());
  exit = last + rows - 1 + final_delay;
  delay = final_delay;
}

int64_t ReconTraffic::Ahead::FreeFrom(int row) const {
  return static_cast<size_t>(row) < reached.size() ? reached[row] + 1 : 0;
}

size_t ReconTraffic::Strips(const ReconPlan* plan) const {
  return std::max(ahead_.size(), plan ? plan->strips.size() : 1);
}

const ReconTraffic::Ahead& ReconTraffic::AheadOf(size_t strip) const {
  return strip < ahead_.size() ? ahead_[strip] : bare_;
}

ReconTraffic::Entry ReconTraffic::Enter(int64_t start, const ReconPlan* plan, int rows,
                                        const Ranks* ready) const {
  int64_t exit = -1;
  for (size_t strip = 0; strip < Strips(plan); ++strip) {
    // What a strip can't hold back in its buffers has to start later.
    const Ahead& ahead = AheadOf(strip);
    const bool visits = Visits(plan, strip);
    const int end = visits ? plan->strips[strip].front().row + 1 : rows;
    start = std::max(start + ahead.Needed(start, 0, end, false), Latest(ready, 0, end));
    if (!visits) exit = std::max(exit, ahead.exit);
  }
  if (start + rows - 1 > exit) return {start, rows};
  return GoDeeper(start, plan, rows, exit);
}

ReconTraffic::Entry ReconTraffic::GoDeeper(int64_t start, const ReconPlan* plan, int rows,
                                           int64_t exit) const {
  Entry best{exit + 2 - rows, rows};
  for (int depth = rows + 1; depth <= array_rows_ && start < best.start; ++depth) {
    // Rows further down may be the earlier ones' for longer.
    for (size_t strip = 0; strip < Strips(plan); ++strip) {
      if (!Visits(plan, strip)) start = std::max(start, AheadOf(strip).FreeFrom(depth - 1));
    }
    const int64_t entered = std::max(start, exit + 2 - depth);
    if (entered < best.start) best = {entered, depth};
  }
  return best;
}

ReconGrant ReconTraffic::Reserve(int64_t start, const ReconPlan* plan, int rows, int64_t m,
                                 const Ranks* ready, const ReconNotes& notes) {
  const size_t strips = plan ? plan->strips.size() : std::max<size_t>(1, ahead_.size());
  const int64_t last = start + (m - 1) * (plan ? plan->turns : 1);
  const Entry entry{start, Enter(start, plan, rows, ready).depth};
  if (ahead_.size() < strips) ahead_.resize(strips, bare_);
  ReconGrant grant;
  grant.depth = entry.depth;
  if (plan) {
    Forget(start);
    const size_t networks = strips * plan->shape.units;
    if (networks_.size() < networks) networks_.resize(networks);
    if (notes.visits) notes.visits->resize(strips);
  }
  const auto pass = [&](Ahead* ahead, int64_t delay) {
    ahead->Grow(entry.depth);
    ahead->Reach(0, entry.depth, last);
    ahead->Leave(entry.depth, last, delay);
  };
  for (size_t strip = 0; strip < strips; ++strip) {
    ahead_[strip].Grow(entry.depth);
    if (!Visits(plan, strip)) {
      pass(&ahead_[strip], 0);
    } else {
      ReserveStrip(entry, *plan, strip, m, ready, notes.visits ? &(*notes.visits)[strip] : nullptr);
    }
    if (!plan) continue;
    const int last_column =
        std::min<int>((strip + 1) * plan->shape.strip_columns, plan->shape.cols) - 1;
    const int64_t delay = ahead_[strip].delay;
    grant.delay = std::max(grant.delay, delay);
    grant.latency = std::max(grant.latency, entry.depth - 1 + last_column + delay);
  }
  pass(&bare_, 0);
  if (notes.passed) TellPassed(strips, entry.depth, last, notes.passed);
  delays_ =
      std::any_of(ahead_.begin(), ahead_.end(), [](const Ahead& ahead) { return ahead.delay > 0; });
  return grant;
}

void ReconTraffic::TellPassed(size_t strips, int depth, int64_t last, Ranks* passed) const {
  passed->assign(depth + 1, last);
  for (size_t strip = 0; strip < strips; ++strip) {
    const Ahead& ahead = ahead_[strip];
    for (int row = 0; row < depth; ++row) {
      (*passed)[row] = std::max((*passed)[row], ahead.reached[row]);
    }
    (*passed)[depth] = std::max((*passed)[depth], ahead.exit + 1 - depth);
  }
}

void ReconTraffic::ReserveStrip(const Entry& entry, const ReconPlan& plan, size_t strip, int64_t m,
                                const Ranks* ready, std::vector<ReconVisit>* granted) {
  const int64_t start = entry.start;
  Ahead& ahead = ahead_[strip];
  const std::vector<ReconVisit>& visits = plan.strips[strip];
  const int64_t last = start + (m - 1) * plan.turns;
  taken_.resize(plan.shape.units);
  for (int unit = 0; unit < plan.shape.units; ++unit) {
    taken_[unit].Draw(networks_[strip * plan.shape.units + unit], start, plan.turns);
  }
  int64_t delay = 0;
  ahead.Reach(0, visits.front().row + 1, last);
  for (size_t i = 0; i < visits.size(); ++i) {
    const ReconVisit& visit = visits[i];
    const bool at_exit = i + 1 == visits.size();
    const bool final = at_exit || visits[i + 1].row != visit.row;
    const int next = at_exit ? entry.depth : visits[i + 1].row + 1;  // where it gets to
    const int64_t behind = visit.row + 1 - plan.shape.ranks;  // from offset to the delay behind
    int64_t earliest = visit.row + 1 + delay + (visit.pass == 0 ? kSyncCycles : 0);
    if (visit.pass == 0) earliest = std::max(earliest, ahead.first_pass[visit.row] + 1 - start);
    if (final) {
      const int64_t loaded = Latest(ready, visit.row + 1, std::min(next, plan.shape.rows));
      const int64_t needed =
          std::max(ahead.Needed(start, visit.row + 1, next, at_exit), loaded - start);
      earliest = std::max({earliest, ahead.final_pass[visit.row] + 1 - start, needed + behind});
    }
    Series series{start + earliest, plan.turns, m};
    const int unit = Take(&series, strip, plan);
    const int64_t offset = series.first - start;
    if (granted) granted->push_back({visit.row, visit.pass, offset, unit});
    delay = offset - behind;
    if (visit.pass == 0) ahead.first_pass[visit.row] = series.last();
    if (!final) continue;
    ahead.final_pass[visit.row] = series.last();
    ahead.Reach(visit.row + 1, next, last + delay);
  }
  ahead.Leave(entry.depth, last, delay);
}

int ReconTraffic::Take(Series* wanted, size_t strip, const ReconPlan& plan) {
  const auto end = [](int64_t most, const Taken& taken) { return std::max(most, taken.end()); };
  const int64_t last_end = std::accumulate(taken_.begin(), taken_.end(), int64_t{0}, end);
  int chosen = -1;
  for (; chosen < 0 && wanted->last() + wanted->turns < last_end; wanted->first += chosen < 0) {
    for (size_t unit = 0; unit < taken_.size() && chosen < 0; ++unit) {
      if (!taken_[unit].Meets(*wanted)) chosen = static_cast<int>(unit);
    }
  }
  if (chosen < 0) {
    // It goes on for longer than all that came earlier.
    int64_t first = INT64_MAX;
    for (size_t unit = 0; unit < taken_.size(); ++unit) {
      const int64_t free = taken_[unit].FirstFree(wanted->first);
      if (free >= first) continue;
      first = free;
      chosen = static_cast<int>(unit);
    }
    wanted->first = first;
  }
  taken_[chosen].Keep(*wanted);
  networks_[strip * plan.shape.units + chosen].push_back(*wanted);
  return chosen;
}

void ReconTraffic::Taken::Draw(const std::vector<Series>& network, int64_t start, int64_t turns) {
  start_ = end_ = start;
  turns_ = turns;
  own_.assign((turns + 63) / 64, 0);
  for (const Series& series : network) end_ = std::max(end_, series.last() + 1);
  taken_.assign((end_ - start_ + 63) / 64, 0);
  for (const Series& series : network) {
    int64_t cycle = series.first;
    if (cycle < start) cycle += (start - cycle + series.turns - 1) / series.turns * series.turns;
    for (; cycle <= series.last(); cycle += series.turns) {
      taken_[(cycle - start) / 64] |= uint64_t{1} << ((cycle - start) % 64);
    }
  }
  within_ = taken_;
  for (int64_t shift = turns; shift < end_ - start_; shift *= 2) MergeLater(shift, &within_);
}

bool ReconTraffic::Taken::Meets(const Series& wanted) const {
  if (Has(own_, ResidueOf(wanted.first))) return true;
  if (wanted.first >= end_) return false;
  if (wanted.last() + wanted.turns >= end_) return Has(within_, wanted.first - start_);
  for (int64_t cycle = wanted.first; cycle <= wanted.last(); cycle += wanted.turns) {
    if (Has(taken_, cycle - start_)) return true;
  }
  return false;
}

int64_t ReconTraffic::Taken::FirstFree(int64_t cycle) const {
  if (cycle < end_) {
    const int64_t free = start_ + NextClear(within_, cycle - start_);
    if (free < end_) return free;
    cycle = end_;
  }
  int64_t residue = ResidueOf(cycle), free = NextClear(own_, residue);
  if (free >= turns_) {
    cycle += turns_ - residue;
    residue = 0;
    free = NextClear(own_, 0);
    if (free >= turns_) return INT64_MAX;
  }
  return cycle + free - residue;
}

void ReconTraffic::Taken::Keep(const Series& series) {
  const uint64_t residue = ResidueOf(series.first), drawn = end_ - start_;
  own_[residue / 64] |= uint64_t{1} << residue % 64;
  for (uint64_t offset = residue; offset < drawn; offset += turns_) {
    within_[offset / 64] |= uint64_t{1} << offset % 64;
  }
}

void ReconTraffic::Forget(int64_t before) {
  for (std::vector<Series>& network : networks_) {
    const auto over = [&](const Series& series) { return series.last() < before; };
    network.erase(std::remove_if(network.begin(), network.end(), over), network.end());
  }
}

}  // namespace microscopiq
