#include "recon/traffic.h"

#include <algorithm>
#include <numeric>

namespace microscopiq {
namespace {

// Matmuls of so few activation rows leave no place of the period to others.
constexpr int64_t kFewRows = 16;
// Waiting so much longer at one row is less than waiting once more below.
constexpr int64_t kWorthIt = 6;

// The latest of some array rows; -1 if there is none.
int64_t Latest(const std::vector<Ranks>* ready, size_t strip, int begin, int end) {
  if (!ready || begin >= end) return -1;
  const Ranks& ranks = OfStrip(*ready, strip);
  return *std::max_element(ranks.begin() + begin, ranks.begin() + end);
}

bool Visits(const ReconPlan* plan, size_t strip) {
  return plan && strip < plan->strips.size() && !plan->strips[strip].empty();
}

}  // namespace

void ReconTraffic::Clear() {
  delays_ = false;
  alike_ = true;
  std::fill(ahead_.begin(), ahead_.end(), Ahead{});
  for (std::vector<Series>& network : networks_) network.clear();
}

void ReconTraffic::Differ() {
  if (!alike_) return;
  alike_ = false;
  std::fill(ahead_.begin() + 1, ahead_.end(), ahead_[0]);
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

int64_t ReconTraffic::Spare(const ReconPlan* plan, size_t strip, int64_t m) const {
  if (!may_wait_ || !plan || strip >= plan->strips.size()) return 0;
  if (m <= kFewRows) return INT64_MAX;
  const int64_t own = static_cast<int64_t>(plan->strips[strip].size());
  return plan->places * plan->cadence.period - own;
}

ReconTraffic::Entry ReconTraffic::Enter(int64_t start, const ReconPlan* plan, int rows, int64_t m,
                                        const std::vector<Ranks>* ready) const {
  int64_t exit = -1;
  const bool once = alike_ && !plan && (!ready || ready->size() == 1);
  for (size_t strip = 0; strip < (once ? 1 : ahead_.size()); ++strip) {
    // What a strip can't hold back in its buffers has to start later.
    const bool waits = Spare(plan, strip, m) > 0, visits = Visits(plan, strip);
    const int end = waits ? 1 : visits ? plan->strips[strip].front().row + 1 : rows;
    start =
        std::max(start + AheadOf(strip).Needed(start, 0, end, false), Latest(ready, strip, 0, end));
    if (!visits && !waits) exit = std::max(exit, AheadOf(strip).exit);
  }
  if (start + rows - 1 > exit) return {start, rows};
  return GoDeeper(start, plan, rows, m, exit);
}

ReconTraffic::Entry ReconTraffic::GoDeeper(int64_t start, const ReconPlan* plan, int rows,
                                           int64_t m, int64_t exit) const {
  Entry best{exit + 2 - rows, rows};
  for (int depth = rows + 1; depth <= array_rows_ && start < best.start; ++depth) {
    // Rows further down may be the earlier ones' for longer.
    for (size_t strip = 0; strip < ahead_.size(); ++strip) {
      if (Visits(plan, strip) || Spare(plan, strip, m) > 0) continue;
      start = std::max(start, AheadOf(strip).FreeFrom(depth - 1));
    }
    const int64_t entered = std::max(start, exit + 2 - depth);
    if (entered < best.start) best = {entered, depth};
  }
  return best;
}

ReconGrant ReconTraffic::Reserve(int64_t start, const ReconPlan* plan, int rows, int64_t m,
                                 const std::vector<Ranks>* ready, const ReconNotes& notes) {
  const int64_t last = start + (plan ? plan->cadence.Start(m - 1) : m - 1);
  const Entry entry{start, Enter(start, plan, rows, m, ready).depth};
  ReconGrant grant;
  grant.depth = entry.depth;
  if (plan) {
    Forget(start);
    Differ();
  }
  if (plan && notes.visits) notes.visits->resize(plan->strips.size());
  delays_ = false;
  for (size_t strip = 0; strip < (alike_ ? 1 : ahead_.size()); ++strip) {
    Ahead& ahead = ahead_[strip];
    ahead.Grow(entry.depth);
    if (Visits(plan, strip) || Spare(plan, strip, m) > 0) {
      std::vector<ReconVisit>* visits = notes.visits ? &(*notes.visits)[strip] : nullptr;
      const size_t before = networks_[strip].size();
      ReserveStrip(entry, *plan, strip, m, ready, visits);
      grant.waits += networks_[strip].size() - before - plan->strips[strip].size();
    } else {
      ahead.Reach(0, entry.depth, last);
      ahead.Leave(entry.depth, last, 0);
    }
    delays_ |= ahead.delay > 0;
    if (!plan || strip >= plan->strips.size()) continue;
    const int last_column =
        std::min<int>((strip + 1) * plan->shape.strip_columns, plan->shape.cols) - 1;
    grant.delay = std::max(grant.delay, ahead.delay);
    grant.latency =
        std::max(grant.latency, entry.depth - 1 + plan->shape.Later(last_column) + ahead.delay);
  }
  if (notes.passed) TellPassed(entry.depth, last, notes.passed);
  return grant;
}

void ReconTraffic::TellPassed(int depth, int64_t last, std::vector<Ranks>* passed) const {
  passed->assign(alike_ ? 1 : ahead_.size(), Ranks(depth + 1, last));
  for (size_t strip = 0; strip < passed->size(); ++strip) {
    const Ahead& ahead = ahead_[strip];
    Ranks& ranks = (*passed)[strip];
    for (int row = 0; row < depth; ++row) ranks[row] = std::max(ranks[row], ahead.reached[row]);
    ranks[depth] = std::max(ranks[depth], ahead.exit + 1 - depth);
  }
}

std::vector<int64_t> ReconTraffic::DelaysNeeded(const Entry& entry, const ReconPlan& plan,
                                                size_t strip,
                                                const std::vector<Ranks>* ready) const {
  const Ahead& ahead = ahead_[strip];
  std::vector<int64_t> needed(entry.depth + 1);
  for (int row = 0; row < entry.depth; ++row) {
    needed[row] = ahead.Needed(entry.start, row, row + 1, false);
    if (ready && row < plan.shape.rows) {
      needed[row] = std::max(needed[row], OfStrip(*ready, strip)[row] - entry.start);
    }
  }
  needed[entry.depth] = ahead.exit + 1 - entry.start - (entry.depth - 1);
  return needed;
}

void ReconTraffic::ReserveStrip(const Entry& entry, const ReconPlan& plan, size_t strip, int64_t m,
                                const std::vector<Ranks>* ready, std::vector<ReconVisit>* granted) {
  const int64_t start = entry.start, last = start + plan.cadence.Start(m - 1);
  const std::vector<ReconVisit>& visits = plan.strips[strip];
  const std::vector<int64_t> needed = DelaysNeeded(entry, plan, strip, ready);
  Ahead& ahead = ahead_[strip];
  taken_.Draw(networks_[strip], start, plan, may_wait_ && m <= kFewRows);
  int64_t delay = 0, spare = Spare(&plan, strip, m);
  size_t next = 0;  // visit
  for (int row = 0; row < entry.depth; ++row) {
    ahead.Reach(row, row + 1, last + delay);
    const bool own = next < visits.size() && visits[next].row == row;
    if (!own && needed[row + 1] <= delay) continue;
    if (!own) --spare;
    const int64_t behind = row + 1 - plan.shape.ranks;  // from offset to the delay behind
    for (bool final = false; !final;) {
      const int pass = own ? visits[next++].pass : 0;
      final = next == visits.size() || visits[next].row != row || !own;
      int64_t earliest = row + 1 + delay + (pass == 0 ? plan.shape.sync_cycles() : 0);
      if (pass == 0) earliest = std::max(earliest, ahead.first_pass[row] + 1 - start);
      if (final) {
        earliest = std::max(earliest, ahead.final_pass[row] + 1 - start);
        const int until = next == visits.size() ? entry.depth : visits[next].row + 1;
        int64_t wait = std::max(earliest - behind, needed[row + 1]);
        for (int below = row + 2; below <= until; ++below) {
          // Rows below wait for themselves where there is a place to.
          if (spare <= 0 || needed[below] <= wait + kWorthIt) {
            wait = std::max(wait, needed[below]);
          }
        }
        earliest = wait + behind;
      }
      Series series{start + earliest, plan.cadence, m};
      taken_.Place(&series);
      networks_[strip].push_back(series);
      const int64_t offset = series.first - start;
      if (granted) granted->push_back({row, pass, offset, !own});
      delay = offset - behind;
      if (pass == 0) ahead.first_pass[row] = series.last();
      if (final) ahead.final_pass[row] = series.last();
    }
  }
  ahead.Leave(entry.depth, last, delay);
}

void ReconTraffic::Taken::Draw(const std::vector<Series>& earlier, int64_t start,
                               const ReconPlan& plan, bool few) {
  start_ = start;
  units_ = plan.shape.units;
  places_ = plan.places;
  few_ = few;
  own_.assign(plan.cadence.period, 0);
  int64_t end = start;
  for (const Series& series : earlier) end = std::max(end, series.last() + 1);
  // Of a row a cycle only where it begins and ends is counted, and summed up once.
  visits_.assign(end + 1 - start, 0);
  for (const Series& series : earlier) {
    if (series.cadence.period != series.cadence.rows || series.last() < start) continue;
    ++visits_[std::max(series.first, start) - start];
    --visits_[series.last() + 1 - start];
  }
  std::partial_sum(visits_.begin(), visits_.end(), visits_.begin());
  visits_.pop_back();
  for (const Series& series : earlier) {
    if (series.cadence.period != series.cadence.rows) Add(series);
  }
}

void ReconTraffic::Taken::Add(const Series& series) {
  int64_t row = 0;
  if (series.first < start_) {
    row = (start_ - series.first) * series.cadence.rows / series.cadence.period;
    while (series.at(row) < start_) ++row;
  }
  const int64_t until = end() - series.first, shift = series.first - start_;
  for (Starts starts(series.cadence, row); row < series.count && starts.at() < until; ++row) {
    ++visits_[starts.at() + shift];
    starts.Next();
  }
}

bool ReconTraffic::Taken::Meets(const Series& wanted) const {
  if (!few_ && own_[(wanted.first - start_) % wanted.cadence.period] == places_) return true;
  const int64_t until = end() - wanted.first, shift = wanted.first - start_;
  Starts starts(wanted.cadence, 0);
  for (int64_t row = 0; row < wanted.count && starts.at() < until; ++row) {
    if (visits_[starts.at() + shift] == units_) return true;
    starts.Next();
  }
  return false;
}

void ReconTraffic::Taken::Place(Series* wanted) {
  while (Meets(*wanted)) ++wanted->first;
  // What comes later than all that is drawn has only each other to meet.
  if (few_ && wanted->last() >= end()) visits_.resize(wanted->last() + 1 - start_);
  ++own_[(wanted->first - start_) % wanted->cadence.period];
  Add(*wanted);
}

void ReconTraffic::Forget(int64_t before) {
  for (std::vector<Series>& network : networks_) {
    const auto over = [&](const Series& series) { return series.last() < before; };
    network.erase(std::remove_if(network.begin(), network.end(), over), network.end());
  }
}

}  // namespace microscopiq
