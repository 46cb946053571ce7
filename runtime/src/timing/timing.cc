#include "timing/timing.h"

#include <algorithm>
#include <utility>

#include "errors.h"

namespace microscopiq {
namespace {

constexpr int64_t kNever = INT64_MAX;

// What somebody who waits for a unit waits for.
Cause WorkOf(Unit unit) {
  switch (unit) {
    case Unit::kDmaIn:
    case Unit::kDmaOut:
      return Cause::kDma;
    case Unit::kWload:
    case Unit::kRecon:
      return Cause::kWeights;
    case Unit::kArray:
      return Cause::kArray;
    default:
      return Cause::kVector;
  }
}

// The same once the unit has taken in all, and its last results are under way.
Cause TailOf(Unit unit) { return unit == Unit::kArray ? Cause::kFillDrain : WorkOf(unit); }

}  // namespace

Timing::Timing(const ArchNumbers& arch)
    : arch_(arch),
      traffic_(static_cast<int>(arch.array_rows), MostStrips(arch), arch.recon_waits),
      dram_(arch),
      plane_rows_(arch),
      plane_order_(arch),
      current_load_(arch.weight_planes) {}

void Timing::Reset(std::vector<Span>* trace, bool keep_array_starts) {
  trace_ = trace;
  keep_array_starts_ = keep_array_starts;
  array_starts_.clear();
  origin_ = started_ = {};
  plane_loads_.clear();
  traffic_.Clear();
  dram_.Reset();
  plane_rows_.Clear();
  plane_order_.Clear();
  std::fill(current_load_.begin(), current_load_.end(), 0);
  loads_ = 0;
  clock_ = channel_free_ = last_start_ = 0;
  for (UnitState& state : states_) {
    state.queue.clear();
    state.free = state.all_read = state.all_done = state.spent_until = 0;
    state.stale = true;
    state.last_part = 0;
  }
  semaphores_ = {};
  parts_.assign(1, {});
  running_ = 0;
}

void Timing::AddTokens(int sem, int64_t delta) {
  semaphores_[sem].ready += delta;
  StaleWaiters(sem);
  Control();
}

void Timing::Dispatch(Unit unit, Work work) {
  if (work.plane >= 0) {
    size_t& current = current_load_[work.plane];
    if (unit == Unit::kWload) current = loads_++;
    work.load = current;
    work.place = plane_order_.Dispatch(unit, work.plane);
    if (keep_array_starts_) plane_loads_.resize(loads_);
  }
  if (arch_.overlap) {
    Push(unit, MakeOp(Kind::kWork, 0, std::move(work)));
  } else {
    RunAlone(unit, std::move(work));
  }
}

void Timing::DispatchWait(Unit unit, int sem) {
  // Alone, everything before has finished: the functional core saw to it that a token is there.
  if (arch_.overlap) Push(unit, MakeOp(Kind::kWait, sem));
}

void Timing::DispatchPost(Unit unit, int sem, bool after_reading) {
  const Kind kind = after_reading ? Kind::kPostRead : Kind::kPost;
  if (arch_.overlap) Push(unit, MakeOp(kind, sem));
}

Timing::Op Timing::MakeOp(Kind kind, int sem, Work work) const {
  const uint32_t part = static_cast<uint32_t>(parts_.size() - 1);
  return {kind, static_cast<uint8_t>(sem), part, 0, std::move(work), origin_};
}

void Timing::RunAlone(Unit unit, Work work) {
  const int64_t start = clock_;
  running_ = parts_.size() - 1;
  started_ = origin_;
  StartWork(unit, std::move(work), start);
  UnitState& state = states_[static_cast<int>(unit)];
  clock_ = state.all_done;
  Spend(unit, TailOf(unit), state.free, clock_);
  if (unit != Unit::kArray) Spend(Unit::kArray, WorkOf(unit), start, clock_);
  state.free = clock_;
  Control();
}

void Timing::Push(Unit unit, Op op) {
  UnitState& state = states_[static_cast<int>(unit)];
  while (StartNext(clock_)) {
  }
  while (static_cast<int64_t>(state.queue.size()) >= arch_.queue_depth) {
    if (!StartNext(kNever - 1)) FailDeadlock();
    // A slot frees when its op starts.
    clock_ = std::max(clock_, last_start_);
  }
  op.dispatched = clock_;
  if (state.queue.empty()) state.stale = true;
  state.queue.push_back(std::move(op));
  Control();
}

void Timing::StaleWaiters(int sem) {
  for (UnitState& state : states_) {
    if (state.queue.empty()) continue;
    const Op& head = state.queue.front();
    if (head.kind == Kind::kWait && head.sem == sem) state.stale = true;
  }
}

int64_t Timing::HeadStart(int unit) {
  UnitState& state = states_[unit];
  if (state.queue.empty()) return kNever;
  const Op& op = state.queue.front();
  int64_t start = std::max(state.free, op.dispatched);
  if (op.kind == Kind::kWork) return WorkStart(static_cast<Unit>(unit), op.work, start);
  return op.kind == Kind::kWait ? WaitStart(op, start) : start;
}

int64_t Timing::WorkStart(Unit unit, const Work& work, int64_t start) const {
  if (work.dram) return work.transfer ? start : std::max(start, channel_free_);
  if (work.plane < 0) return start;
  if (plane_rows_.by_row()) {
    const int64_t turn = plane_order_.Turn(unit, work.plane, work.place);
    if (turn == kNever) return kNever;
    start = std::max(start, turn);
  }
  if (unit != Unit::kArray) return plane_rows_.EarliestLoad(start, work.plane, work.rows);
  return traffic_.EarliestStart(start, work.recon_plan.get(), work.rows, work.streamed,
                                plane_rows_.Ready(work.plane));
}

int64_t Timing::WaitStart(const Op& op, int64_t start) {
  Semaphore& semaphore = semaphores_[op.sem];
  while (semaphore.ready < 0 && !semaphore.posted.empty()) {
    semaphore.posted.pop();
    ++semaphore.ready;
  }
  if (semaphore.ready > 0) return start;
  if (semaphore.posted.empty()) return kNever;
  return std::max(start, semaphore.posted.top().time);
}

bool Timing::StartNext(int64_t until) {
  int chosen = -1;
  int64_t earliest = kNever;
  for (int unit = 1; unit < kUnits; ++unit) {
    UnitState& state = states_[unit];
    if (state.stale) {
      state.head = HeadStart(unit);
      state.stale = false;
    }
    if (state.head < earliest) {
      earliest = state.head;
      chosen = unit;
    }
  }
  if (chosen < 0 || earliest > until) return false;
  Start(chosen, earliest);
  return true;
}

void Timing::Start(int number, int64_t start) {
  const Unit unit = static_cast<Unit>(number);
  UnitState& state = states_[number];
  Op op = std::move(state.queue.front());
  state.queue.pop_front();
  state.stale = true;
  last_start_ = start;
  started_ = op.origin;
  running_ = op.part;
  const int64_t wanted = std::max(state.free, op.dispatched);
  Spend(unit, Cause::kIdle, state.free, wanted);
  switch (op.kind) {
    case Kind::kWork:
      SpendBeforeWork(unit, op.work, wanted, start);
      StartWork(unit, std::move(op.work), start);
      break;
    case Kind::kWait:
      TakeToken(unit, op.sem, wanted);
      state.free = start;
      break;
    case Kind::kPost:
    case Kind::kPostRead: {
      // The unit goes on at once; the token shows up in its time.
      const int64_t ready = op.kind == Kind::kPost ? state.all_done : state.all_read;
      semaphores_[op.sem].posted.push({std::max(start, ready), state.free, unit});
      StaleWaiters(op.sem);
      state.free = start;
      break;
    }
  }
}

void Timing::StartWork(Unit unit, Work work, int64_t start) {
  UnitState& state = states_[static_cast<int>(unit)];
  if (work.transfer) {
    const Dram::Times times = dram_.Run(*work.transfer, start);
    work.busy = times.free - start;
    work.latency += times.done - times.free;
    Traffic& bursts = parts_[running_].bursts;
    (work.transfer->write ? bursts.written : bursts.read) += times.bytes;
  } else if (work.dram) {
    channel_free_ = start + work.busy;
    for (UnitState& other : states_) {
      if (!other.queue.empty() && other.queue.front().work.dram) other.stale = true;
    }
  }
  if (work.plane >= 0) {
    plane_order_.Start(unit, work.plane, start);
    // Whose turn it is, and what rows there are, is known anew.
    for (Unit other : {Unit::kWload, Unit::kRecon, Unit::kArray}) {
      states_[static_cast<int>(other)].stale = true;
    }
  }
  if (unit == Unit::kArray) {
    StartMatmul(&work, start);
  } else if (work.plane >= 0) {
    StartLoad(unit, &work, start);
  }
  const int64_t end = start + work.busy, worked = end - work.recon - work.temporal;
  Spend(unit, Cause::kBusy, start, worked);
  Spend(unit, Cause::kTemporal, worked, worked + work.temporal);
  Spend(unit, Cause::kRecon, end - work.recon, end);
  state.free = start + work.busy;
  state.all_read = std::max(state.all_read, state.free + work.hold);
  state.all_done = std::max(state.all_done, state.free + work.latency);
  PartTimes& part = parts_[running_];
  part.done = std::max(part.done, state.free + work.latency);
  if (unit == Unit::kWload && part.array_begin < 0) part.array_begin = start;
  if (unit == Unit::kArray) part.array_end = state.all_done;
}

void Timing::StartMatmul(Work* work, int64_t start) {
  std::vector<std::vector<ReconVisit>> visits;
  ReconNotes notes;
  if (keep_array_starts_) notes.visits = &visits;
  if (plane_rows_.watches()) notes.passed = &passed_;
  const ReconGrant grant = traffic_.Reserve(start, work->recon_plan.get(), work->rows,
                                            work->streamed, plane_rows_.Ready(work->plane), notes);
  if (notes.passed) plane_rows_.Pass(work->plane, work->rows, passed_);
  if (work->recon_plan) {
    const int64_t waits = grant.waits * work->streamed;
    const ReconShape& shape = work->recon_plan->shape;
    parts_[running_].recon_waits += waits;
    parts_[running_].wait_switches += waits * shape.strip_columns * shape.ranks;
    // Its rows wait for what ReCoN holds back, and so do their activations and weights.
    work->latency = grant.latency;
    work->hold = grant.delay;
  } else {
    work->latency += grant.depth - work->rows;
  }
  if (!keep_array_starts_) return;
  const int64_t free = start + work->busy;
  array_starts_.push_back(
      {start, free, free + work->latency, grant.depth, work->load, std::move(visits)});
}

void Timing::StartLoad(Unit unit, Work* work, int64_t start) {
  PlaneLoad* load = keep_array_starts_ ? &plane_loads_[work->load] : nullptr;
  LoadTimes times;
  if (unit == Unit::kWload) {
    times = plane_rows_.Load(start, work->plane, work->rows, load);
  } else {
    times = plane_rows_.Configure(start, work->plane, work->recon_plan.get(), load);
  }
  work->busy = times.busy;
  work->latency = work->hold = times.end - start - times.busy;
}

void Timing::SpendBeforeWork(Unit unit, const Work& work, int64_t wanted, int64_t start) {
  if (unit != Unit::kArray) {
    Spend(unit, work.dram ? Cause::kDma : Cause::kArray, wanted, start);
    return;
  }
  // It must not overtake what is still in the array, nor what comes into its plane.
  const int64_t entered =
      traffic_.EarliestStart(wanted, work.recon_plan.get(), work.rows, work.streamed, nullptr);
  Spend(unit, traffic_.delays() ? Cause::kRecon : Cause::kFillDrain, wanted, entered);
  Spend(unit, Cause::kWeights, entered, start);
}

void Timing::TakeToken(Unit unit, int sem, int64_t from) {
  StaleWaiters(sem);
  Semaphore& semaphore = semaphores_[sem];
  if (semaphore.ready > 0) {
    --semaphore.ready;
    return;
  }
  const Token token = semaphore.posted.top();
  semaphore.posted.pop();
  const int64_t tail = std::clamp(token.busy_end, from, std::max(from, token.time));
  Spend(unit, WorkOf(token.poster), from, tail);
  Spend(unit, TailOf(token.poster), tail, token.time);
}

void Timing::Spend(Unit unit, Cause cause, int64_t begin, int64_t end) {
  if (end <= begin) return;
  const uint16_t row = static_cast<uint16_t>(unit), column = static_cast<uint16_t>(cause);
  parts_[running_].units[row][column] += end - begin;
  states_[row].last = cause;
  states_[row].last_part = running_;
  states_[row].spent_until = end;
  if (trace_ && cause != Cause::kIdle) trace_->push_back({begin, end, row, column, started_});
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
  SpendRest(total);
  if (arch_.scalesim && total > 0) {
    // The index of the last cycle: what a unit did in it isn't counted.
    --total;
    for (int number = 1; number < kUnits; ++number) {
      const UnitState& state = states_[number];
      const bool late = state.spent_until > total;
      const Cause last = late ? state.last : Cause::kIdle;
      --(late ? parts_[state.last_part] : parts_.back()).units[number][static_cast<int>(last)];
    }
    if (trace_) TrimTrace(total);
  }
  return total;
}

void Timing::TrimTrace(int64_t total) {
  for (Span& span : *trace_) span.end = std::min(span.end, total);
  const auto empty = [](const Span& span) { return span.begin == span.end; };
  trace_->erase(std::remove_if(trace_->begin(), trace_->end(), empty), trace_->end());
}

void Timing::SpendRest(int64_t total) {
  started_ = {};
  running_ = parts_.size() - 1;
  for (int number = 1; number < kUnits; ++number) {
    const Unit unit = static_cast<Unit>(number);
    if (arch_.overlap) Spend(unit, TailOf(unit), states_[number].free, states_[number].all_done);
    int64_t spent = 0;
    for (const PartTimes& part : parts_) {
      for (int64_t cycles : part.units[number]) spent += cycles;
    }
    parts_.back().units[number][static_cast<int>(Cause::kIdle)] += total - spent;
  }
}

void Timing::FailDeadlock() const {
  std::string blocked;
  for (int unit = 1; unit < kUnits; ++unit) {
    const Ring<Op>& queue = states_[unit].queue;
    if (queue.empty()) continue;
    blocked += std::string(blocked.empty() ? "" : ", ") + kUnitNames[unit] +
               " waits for semaphore " + std::to_string(queue.front().sem);
  }
  Fail(kSimError, "deadlock: no unit can go on; ", blocked);
}

}  // namespace microscopiq
