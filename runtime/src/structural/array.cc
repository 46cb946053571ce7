#include "structural/array.h"

#include <algorithm>
#include <set>
#include <utility>

#include "errors.h"

namespace microscopiq {
namespace {

// What rows do in ReCoN.
constexpr uint8_t kMerges = 1, kWaits = 2;

template <typename T>
bool InStep(const T& activation, const Psum& sum) {
  return activation.there == sum.there && activation.tag.job == sum.tag.job &&
         activation.tag.m == sum.tag.m;
}

}  // namespace

StructuralArray::StructuralArray(const ArchNumbers& arch, const StuckSwitch& stuck, Guard* guard)
    : arch_(arch), stuck_(stuck), guard_(guard) {
  const int64_t bits = arch.pe_weight_bits;
  if (bits & (bits - 1)) {
    Fail(kSimError, "structural mode: pe_weight_bits = ", bits,
         "; allowed: 2, 4, 8, whose multipliers take 2 bits each");
  }
}

void StructuralArray::Run(const std::vector<StructuralJob>& jobs, const Sink& sink) {
  Reset(jobs);
  sink_ = &sink;
  const int64_t limit = Limit();
  int64_t cycle = 0;
  while (ended_ < jobs_.size()) {
    // Nothing happens until the next matmul starts if all before have ended.
    if (feeds_[0].job == ended_ && feeds_[0].m == 0) {
      cycle = std::max(cycle, jobs_[ended_].job.start);
    }
    if (cycle > limit) Fail(kSimError, "internal: sums are missing in cycle ", cycle);
    if (guard_) guard_->Step();
    Cycle(cycle++);
  }
  for (const ReconStrip& strip : strips_) {
    if (!strip.empty()) Fail(kSimError, "internal: a value is left in ReCoN");
  }
}

void StructuralArray::Reset(const std::vector<StructuralJob>& jobs) {
  int rows = 0, cols = 0;
  for (const StructuralJob& job : jobs) {
    rows = std::max(rows, job.depth);
    cols = std::max(cols, job.plane->cols);
  }
  shape_ = MakeReconShape(arch_, jobs.at(0).plane->mode.bits, rows, cols);
  const size_t cells = static_cast<size_t>(shape_.rows) * shape_.cols;
  lanes_.assign(shape_.strips() > 1 ? cells : 0, {});
  waiting_.assign(static_cast<size_t>(shape_.rows) * shape_.strips(), {});
  activations_.assign(cells, {});
  psums_.assign(cells, {});
  awake_.assign(cells, 0);
  feeds_.assign(shape_.rows, {});
  expected_.assign(shape_.cols, {});
  collected_.assign(shape_.cols, -1);
  ended_ = 0;
  strips_.clear();
  strip_of_.clear();
  for (int col = 0; col < shape_.cols; ++col) strip_of_.push_back(col / shape_.strip_columns);
  for (int strip = 0; strip < shape_.strips(); ++strip) {
    strips_.emplace_back(shape_, strip, stuck_);
  }
  jobs_.clear();
  for (const StructuralJob& job : jobs) AddJob(job);
  AddLoads(jobs);
}

void StructuralArray::AddLoads(const std::vector<StructuralJob>& jobs) {
  registers_.reset();
  if (!jobs[0].load) return;
  registers_.emplace(arch_, shape_.rows, shape_.cols, shape_.strip_columns);
  std::set<size_t> known;
  for (const StructuralJob& job : jobs) {
    if (known.insert(job.load_number).second) registers_->Add(job.load_number, *job.load);
  }
}

void StructuralArray::CheckLoaded(int64_t cycle, int row, int column, const StructuralJob& job,
                                  bool merges) const {
  if (!registers_ || row >= job.plane->rows || column >= job.plane->cols) return;
  const int plane = job.load->plane;
  const bool there = merges ? registers_->HasMerges(plane, row, column, job.load_number)
                            : registers_->HasWeight(plane, row, column, job.load_number);
  if (there) return;
  Fail(kSimError, "structural mode: cycle ", cycle, ", array row ", row, ", column ", column,
       ": plane ", plane, " has ", merges ? "merges" : "a weight",
       " of another load than the matmul's; allowed: programs whose tokens order the two");
}

void StructuralArray::AddJob(const StructuralJob& job) {
  const RawPlane& plane = *job.plane;
  JobState state;
  state.job = job;
  state.shape = MakeReconShape(arch_, plane.mode.bits, job.depth, plane.cols);
  ReconPlan plan = PlanOf(state.shape, plane);
  state.cadence = plan.cadence;
  state.limit = job.start + 2 * (plan.busy(job.m) + plan.latency);
  if (job.visits) {
    plan.strips = *job.visits;
    for (const auto& strip : plan.strips) {
      // Behind its last visit a row only has to go down.
      if (!strip.empty()) state.limit += strip.back().offset;
    }
  }
  state.layout = std::make_unique<PeLayout>(arch_, plane.mode);
  state.weights.assign(state.shape.rows, PeRow(*state.layout));
  for (int row = 0; row < plane.rows; ++row) {
    state.weights[row].SetCode(plane.CodeOf(row));
    for (int col = 0; col < plane.cols; ++col) state.weights[row].Load(col, plane.SlotAt(row, col));
  }
  state.visits.resize(waiting_.size());
  for (int strip = 0; strip < shape_.strips(); ++strip) {
    StripJob config = ConfigureStrip(state.shape, strip, plane, plan);
    config.reserved = job.visits != nullptr;
    config.start = job.start + shape_.Later(strip * shape_.strip_columns);
    for (const auto& [row, of_row] : config.rows) {
      state.visits[row * shape_.strips() + strip] = of_row.visits[0].waits ? kWaits : kMerges;
    }
    strips_[strip].AddJob(config);
  }
  state.left = int64_t{job.m} * state.shape.cols;
  jobs_.push_back(std::move(state));
}

int64_t StructuralArray::Limit() const {
  int64_t limit = 0;
  for (const JobState& state : jobs_) limit = std::max(limit, state.limit);
  return limit;
}

void StructuralArray::Cycle(int64_t cycle) {
  if (registers_) registers_->Step(cycle);
  for (size_t i = 0; i < strips_.size(); ++i) {
    const int first = static_cast<int>(i) * shape_.strip_columns;
    for (const ReconStrip::Return& back : strips_[i].Receive(cycle)) {
      const int column = first + back.column;
      const JobState& state = jobs_[back.sum.tag.job];
      if (state.visits[back.row * shape_.strips() + i] == kMerges) {
        CheckLoaded(cycle, back.row, column, state.job, true);
      }
      Below(cycle, back.row, column, back.sum);
    }
  }
  for (int row = 0; row < shape_.rows; ++row) {
    FeedRow(cycle, row);
    StartStrips(cycle, row);
  }
  // From the last PE up, so that the registers that a PE writes have been read and cleared.
  for (int row = shape_.rows - 1; row >= 0; --row) {
    uint8_t* awake = &awake_[static_cast<size_t>(row) * shape_.cols];
    for (int column = shape_.cols - 1; column >= 0; --column) {
      if (std::exchange(awake[column], 0)) Work(cycle, row, column);
    }
  }
  for (ReconStrip& strip : strips_) strip.Step(cycle);
}

void StructuralArray::FeedRow(int64_t cycle, int row) {
  const int strips = shape_.strips();
  Feed& feed = feeds_[row];
  while (feed.job < jobs_.size() && row >= jobs_[feed.job].shape.rows) feed = {feed.job + 1, 0};
  Activation fed;
  if (feed.job < jobs_.size()) {
    JobState& state = jobs_[feed.job];
    const StructuralJob& job = state.job;
    const int64_t start = job.start + state.cadence.Start(feed.m);
    if (cycle == start + row) {
      if (row == 0) state.result.last_start = start;
      const int8_t x = Listed(job, feed.m, row, 0);
      fed = {true, {static_cast<int>(feed.job), feed.m, row}, x};
      if (++feed.m == job.m) feed = {feed.job + 1, 0};
    }
  }
  if (strips == 1) {
    if (fed.there) waiting_[row].Push(cycle, cycle, fed);
    return;
  }
  // A lane past the strips, as fast as the PEs hand on: no strip waits for another one's sums.
  Activation* lane = &lanes_[static_cast<size_t>(row) * shape_.cols];
  for (int place = shape_.Later((strips - 1) * shape_.strip_columns); place > 0; --place) {
    lane[place] = lane[place - 1];
  }
  lane[0] = fed;
  for (int strip = 0; strip < strips; ++strip) {
    const int first = strip * shape_.strip_columns;
    const Activation& passing = lane[shape_.Later(first)];
    if (passing.there && first < jobs_[passing.tag.job].shape.cols) {
      waiting_[row * strips + strip].Push(cycle, cycle, passing);
    }
  }
}

void StructuralArray::StartStrips(int64_t cycle, int row) {
  for (int strip = 0; strip < shape_.strips(); ++strip) {
    Fifo<Activation>& fifo = waiting_[row * shape_.strips() + strip];
    const int first = strip * shape_.strip_columns;
    // The top row adds to 0 and waits for nothing.
    if (!fifo.Front(cycle) || (row > 0 && !PsumAt(row, first).there)) continue;
    EnterTogether(cycle, row, first, fifo.Pop(cycle));
  }
}

void StructuralArray::Work(int64_t cycle, int row, int column) {
  const Activation in = std::exchange(ActivationAt(row, column), {});
  const Psum above = std::exchange(PsumAt(row, column), {});
  const Psum sum = row == 0 ? Psum{true, in.tag, 0} : above;
  if (!InStep(in, sum)) {
    Fail(kSimError, "internal: cycle ", cycle, ", array row ", row, ", column ", column,
         ": the activation and the partial sum are of different rows");
  }
  const JobState& state = jobs_[in.tag.job];
  CheckLoaded(cycle, row, column, state.job, false);
  Product product = state.weights[row].Multiply(column, in.x);
  const int strip = strip_of_[column], next = column + 1;
  if (row < state.job.plane->rows) {
    product.magnitude <<= state.job.plane->ShiftAt(row, column);
  }
  if (const uint8_t visit = state.visits[row * shape_.strips() + strip]) {
    if (visit == kMerges) CheckLoaded(cycle, row, column, state.job, true);
    const Res res{true, product.negative, product.magnitude};
    strips_[strip].Send(cycle, column - strip * shape_.strip_columns, in.tag, in.x, res, sum.value);
  } else {
    Below(cycle + 1, row, column, {true, in.tag, sum.value + product.value()});
  }
  const bool first = next % shape_.skew_columns == 0;
  if (first && next < state.shape.cols && strip_of_[next] == strip) {
    EnterTogether(cycle, row, next, in);
  }
}

void StructuralArray::EnterTogether(int64_t cycle, int row, int first,
                                    const Activation& activation) {
  const int cols = jobs_[activation.tag.job].shape.cols;
  const int end = std::min(cols, first + shape_.skew_columns - first % shape_.skew_columns);
  for (int column = first; column < end; ++column) Enter(cycle, row, column, activation);
}

void StructuralArray::Enter(int64_t cycle, int row, int column, const Activation& activation) {
  if (ActivationAt(row, column).there) {
    Fail(kSimError, "internal: cycle ", cycle, ", array row ", row, ", column ", column,
         ": two activations meet");
  }
  ActivationAt(row, column) = activation;
  AwakeAt(row, column) = 1;
  // Where a list of inputs starts, or a strip of the array, the value comes on wires of its own.
  const StructuralJob& job = jobs_[activation.tag.job].job;
  if (!job.plane->listed()) return;
  if (column % job.plane->strip_columns == 0 || column % shape_.strip_columns == 0) {
    ActivationAt(row, column).x = Listed(job, activation.tag.m, row, column);
  }
}

int8_t StructuralArray::Listed(const StructuralJob& job, int m, int row, int column) {
  const int input = row < job.plane->rows ? job.plane->InputAt(row, column) : -1;
  return input < 0 ? int8_t{0} : job.x[m * job.x_pitch + input];
}

void StructuralArray::Below(int64_t cycle, int row, int column, const Psum& sum) {
  if (row + 1 == jobs_[sum.tag.job].shape.rows) {
    Collect(cycle, column, sum);
    return;
  }
  Psum& register_below = PsumAt(row + 1, column);
  if (register_below.there) {
    Fail(kSimError, "internal: cycle ", cycle, ", array row ", row + 1, ", column ", column,
         ": two partial sums meet");
  }
  register_below = sum;
  AwakeAt(row + 1, column) = 1;
}

void StructuralArray::Collect(int64_t cycle, int column, const Psum& sum) {
  Feed& expected = expected_[column];
  while (expected.job < jobs_.size() && column >= jobs_[expected.job].shape.cols) {
    expected = {expected.job + 1, 0};
  }
  if (sum.tag.job != static_cast<int>(expected.job) || sum.tag.m != expected.m) {
    Fail(kSimError, "internal: cycle ", cycle, ", column ", column, ": a sum of row ", sum.tag.m,
         " comes before that of row ", expected.m);
  }
  JobState& state = jobs_[expected.job];
  if (std::exchange(collected_[column], cycle) == cycle) {
    Fail(kSimError, "internal: cycle ", cycle, ", column ", column, ": two sums leave the array");
  }
  const int cols = state.job.plane->cols;
  state.sums.resize(static_cast<size_t>(state.job.m) * cols);
  if (column < cols) state.sums[expected.m * cols + column] = sum.value;
  state.result.end = cycle;
  if (--state.left == 0) {
    (*sink_)(expected.job, state.result, state.sums);
    state.sums = {};
    ++ended_;
  }
  if (++expected.m == state.job.m) expected = {expected.job + 1, 0};
}

}  // namespace microscopiq
