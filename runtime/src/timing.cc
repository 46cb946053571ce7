#include "timing.h"

#include <algorithm>

#include "errors.h"

namespace microscopiq {
namespace {
constexpr int64_t kNever = INT64_MAX;
}  // namespace

Timing::Timing(const ArchNumbers& arch) : queue_depth_(arch.queue_depth) {}

void Timing::Reset() {
  clock_ = channel_free_ = last_start_ = 0;
  states_ = {};
  semaphores_ = {};
  cycles_ = {};
}

void Timing::AddTokens(int sem, int64_t delta) {
  semaphores_[sem].ready += delta;
  Control();
}

void Timing::Dispatch(Unit unit, const Work& work) { Push(unit, {Kind::kWork, 0, 0, work}); }

void Timing::DispatchWait(Unit unit, int sem) {
  Push(unit, {Kind::kWait, static_cast<uint8_t>(sem), 0, {}});
}

void Timing::DispatchPost(Unit unit, int sem) {
  Push(unit, {Kind::kPost, static_cast<uint8_t>(sem), 0, {}});
}

void Timing::Push(Unit unit, const Op& op) {
  std::deque<Op>& queue = states_[static_cast<int>(unit)].queue;
  while (StartNext(clock_)) {
  }
  while (static_cast<int64_t>(queue.size()) >= queue_depth_) {
    if (!StartNext(kNever - 1)) FailDeadlock();
    // A slot frees when its op starts.
    clock_ = std::max(clock_, last_start_);
  }
  queue.push_back(op);
  queue.back().dispatched = clock_++;
}

int64_t Timing::HeadStart(int unit) {
  UnitState& state = states_[unit];
  if (state.queue.empty()) return kNever;
  const Op& op = state.queue.front();
  int64_t start = std::max(state.free, op.dispatched);
  if (op.kind == Kind::kWork) return op.work.dram ? std::max(start, channel_free_) : start;
  if (op.kind == Kind::kPost) return start;
  Semaphore& semaphore = semaphores_[op.sem];
  while (semaphore.ready < 0 && !semaphore.posted.empty()) {
    semaphore.posted.pop();
    ++semaphore.ready;
  }
  if (semaphore.ready > 0) return start;
  if (semaphore.posted.empty()) return kNever;
  return std::max(start, semaphore.posted.top());
}

bool Timing::StartNext(int64_t until) {
  int chosen = -1;
  int64_t earliest = kNever;
  for (int unit = 1; unit < kUnits; ++unit) {
    int64_t start = HeadStart(unit);
    if (start < earliest) {
      earliest = start;
      chosen = unit;
    }
  }
  if (chosen < 0 || earliest > until) return false;
  Start(chosen, earliest);
  return true;
}

void Timing::Start(int unit, int64_t start) {
  UnitState& state = states_[unit];
  UnitCycles& cycles = cycles_[unit];
  const Op& op = state.queue.front();
  last_start_ = start;
  switch (op.kind) {
    case Kind::kWork:
      if (op.work.dram) channel_free_ = start + op.work.busy;
      cycles.busy += op.work.busy - op.work.recon;
      cycles.recon += op.work.recon;
      state.free = start + op.work.busy;
      state.all_done = std::max(state.all_done, state.free + op.work.latency);
      break;
    case Kind::kWait: {
      Semaphore& semaphore = semaphores_[op.sem];
      if (semaphore.ready > 0) {
        --semaphore.ready;
      } else {
        semaphore.posted.pop();
      }
      cycles.dependency += start - std::max(state.free, op.dispatched);
      state.free = start;
      break;
    }
    case Kind::kPost:
      // The unit goes on at once; the token shows up when everything before has finished.
      semaphores_[op.sem].posted.push(std::max(start, state.all_done));
      state.free = start;
      break;
  }
  state.queue.pop_front();
}

int64_t Timing::Finish() {
  Control();
  while (StartNext(kNever - 1)) {
  }
  int64_t total = clock_;
  for (const UnitState& state : states_) {
    if (!state.queue.empty()) FailDeadlock();
    total = std::max({total, state.free, state.all_done});
  }
  for (UnitCycles& unit : cycles_) {
    unit.other = total - unit.busy - unit.dependency - unit.recon;
  }
  return total;
}

void Timing::FailDeadlock() const {
  std::string blocked;
  for (int unit = 1; unit < kUnits; ++unit) {
    const std::deque<Op>& queue = states_[unit].queue;
    if (queue.empty()) continue;
    blocked += std::string(blocked.empty() ? "" : ", ") + kUnitNames[unit] +
               " waits for semaphore " + std::to_string(queue.front().sem);
  }
  Fail(kSimError, "deadlock: no unit can go on; ", blocked);
}

}  // namespace microscopiq
