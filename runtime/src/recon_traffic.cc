#include "recon_traffic.h"

#include <algorithm>

namespace microscopiq {

void ReconTraffic::Clear() {
  delays_ = false;
  ahead_.clear();
  elsewhere_ = {};
  networks_.clear();
}

int64_t ReconTraffic::Ahead::DelayAt(int row) const {
  int64_t delay = 0;
  for (const auto& [visitor, behind] : steps) {
    if (visitor >= row) break;
    delay = behind;
  }
  return delay;
}

int64_t ReconTraffic::Needed(const Ahead& ahead, int64_t start, int row) {
  return ahead.last + 1 - start + ahead.DelayAt(std::min(row, ahead.rows - 1));
}

int64_t ReconTraffic::NeededAtExit(const Ahead& ahead, int64_t start, int rows) {
  // Sums leave in order, whatever the number of rows they pass.
  return std::max(Needed(ahead, start, rows - 1),
                  ahead.last + 1 - start + ahead.delay() + ahead.rows - rows);
}

int64_t ReconTraffic::EarliestStart(int64_t start, const ReconPlan* plan, int rows) const {
  const size_t strips = std::max(ahead_.size(), plan ? plan->strips.size() : 0);
  for (size_t strip = 0; strip < strips; ++strip) {
    const Ahead& ahead = AheadIn(strip);
    // What a strip can't hold back in its buffers has to start later.
    const bool visits = plan && strip < plan->strips.size() && !plan->strips[strip].empty();
    const int64_t needed = visits ? Needed(ahead, start, plan->strips[strip].front().row)
                                  : NeededAtExit(ahead, start, rows);
    start += std::max<int64_t>(0, needed);
  }
  return start;
}

ReconGrant ReconTraffic::Reserve(int64_t start, const ReconPlan* plan, int rows, int64_t m,
                                 std::vector<std::vector<ReconVisit>>* visits) {
  const size_t strips = plan ? plan->strips.size() : std::max<size_t>(1, ahead_.size());
  if (ahead_.size() < strips) ahead_.resize(strips, elsewhere_);
  const int64_t turns = plan ? plan->turns : 1;
  ReconGrant grant;
  if (plan) {
    Forget(start);
    const size_t networks = strips * plan->shape.units;
    if (networks_.size() < networks) networks_.resize(networks);
    if (visits) visits->resize(strips);
    for (size_t strip = 0; strip < strips; ++strip) {
      const int64_t delay =
          ReserveStrip(start, *plan, strip, m, visits ? &(*visits)[strip] : nullptr);
      const int last_column =
          std::min<int>((strip + 1) * plan->shape.strip_columns, plan->shape.cols) - 1;
      grant.delay = std::max(grant.delay, delay);
      grant.latency = std::max(grant.latency, rows - 1 + last_column + delay);
    }
  }
  delays_ = false;
  if (!plan) {
    elsewhere_.last = start + m - 1;
    elsewhere_.rows = rows;
  }
  for (size_t strip = 0; strip < ahead_.size(); ++strip) {
    if (strip < strips) {
      ahead_[strip].last = start + (m - 1) * turns;
      ahead_[strip].rows = rows;
      if (!plan || plan->strips[strip].empty()) ahead_[strip].steps.clear();
    }
    delays_ |= ahead_[strip].delay() > 0;
  }
  return grant;
}

int64_t ReconTraffic::ReserveStrip(int64_t start, const ReconPlan& plan, size_t strip, int64_t m,
                                   std::vector<ReconVisit>* granted) {
  Ahead before;
  std::swap(before, ahead_[strip]);
  std::vector<std::pair<int, int64_t>>& steps = ahead_[strip].steps;
  const std::vector<ReconVisit>& visits = plan.strips[strip];
  table_.assign(plan.turns, 0);
  taken_.resize(plan.shape.units);
  for (int unit = 0; unit < plan.shape.units; ++unit) {
    taken_[unit].Draw(networks_[strip * plan.shape.units + unit], start);
  }
  int64_t delay = 0;
  for (size_t i = 0; i < visits.size(); ++i) {
    const ReconVisit& visit = visits[i];
    const int64_t behind = visit.row + 1 - plan.shape.ranks;  // from offset to the delay behind
    int64_t earliest = visit.row + 1 + delay + (visit.pass == 0 ? kSyncCycles : 0);
    if (before.last >= 0 && (i + 1 == visits.size() || visits[i + 1].row != visit.row)) {
      const int64_t needed = i + 1 < visits.size() ? Needed(before, start, visits[i + 1].row)
                                                   : NeededAtExit(before, start, plan.shape.rows);
      earliest = std::max(earliest, needed + behind);
    }
    Series series{start + earliest, plan.turns, m};
    const int unit = Take(&series, strip, plan);
    const int64_t offset = series.first - start;
    if (granted) granted->push_back({visit.row, visit.pass, offset, unit});
    delay = offset - behind;
    if (!steps.empty() && steps.back().first == visit.row) {
      steps.back().second = delay;
    } else {
      steps.push_back({visit.row, delay});
    }
  }
  return delay;
}

int ReconTraffic::Take(Series* wanted, size_t strip, const ReconPlan& plan) {
  const int units = plan.shape.units;
  int64_t residue = wanted->first % plan.turns;
  for (;; ++wanted->first, residue = residue + 1 == plan.turns ? 0 : residue + 1) {
    // The strip's own visits repeat alike: they meet if and only if they share a residue.
    uint64_t& own = table_[residue];
    for (int unit = 0; unit < units; ++unit) {
      if (own >> unit & 1 || taken_[unit].Meets(*wanted)) continue;
      own |= uint64_t{1} << unit;
      networks_[strip * units + unit].push_back(*wanted);
      return unit;
    }
  }
}

void ReconTraffic::Taken::Draw(const std::vector<Series>& network, int64_t start) {
  start_ = end_ = start;
  for (const Series& series : network) end_ = std::max(end_, series.last() + 1);
  bits_.assign((end_ - start_ + 63) / 64, 0);
  for (const Series& series : network) {
    int64_t cycle = series.first;
    if (cycle < start) cycle += (start - cycle + series.turns - 1) / series.turns * series.turns;
    for (; cycle <= series.last(); cycle += series.turns) {
      bits_[(cycle - start) / 64] |= uint64_t{1} << ((cycle - start) % 64);
    }
  }
}

bool ReconTraffic::Taken::Meets(const Series& wanted) const {
  const int64_t end = std::min(end_, wanted.last() + 1);
  for (int64_t cycle = wanted.first; cycle < end; cycle += wanted.turns) {
    if (bits_[(cycle - start_) / 64] >> ((cycle - start_) % 64) & 1) return true;
  }
  return false;
}

void ReconTraffic::Forget(int64_t before) {
  for (std::vector<Series>& network : networks_) {
    const auto over = [&](const Series& series) { return series.last() < before; };
    network.erase(std::remove_if(network.begin(), network.end(), over), network.end());
  }
}

}  // namespace microscopiq
