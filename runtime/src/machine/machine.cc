#include "machine/machine.h"

#include <algorithm>
#include <utility>

#include "errors.h"
#include "program/listing.h"

namespace microscopiq {

Machine::Machine(const ArchNumbers& arch)
    : arch_(arch), planes_(arch.weight_planes), raw_planes_(arch.weight_planes), timing_(arch) {
  const int64_t sizes[kMems] = {arch.spad_bytes, arch.wbuf_bytes, arch.acc_bytes, arch.obuf_bytes};
  for (int mem = 0; mem < kMems; ++mem) memories_.emplace_back(kMemNames[mem], sizes[mem]);
}

void Machine::Reset(const Function& function, const std::vector<Tensor>& arguments,
                    const RunOptions& options) {
  function_ = &function;
  arguments_ = arguments;
  PlaceInDram();
  values_ = options.values;
  use_timing_ = options.timing;
  use_structure_ = options.structural;
  stuck_switch_ = options.stuck_switch;
  guard_ = options.guard;
  use_trace_ = options.timing && options.trace;
  if (options.debug && !hazards_) hazards_ = std::make_unique<Hazards>();
  watch_ = options.debug ? hazards_.get() : nullptr;
  if (watch_) watch_->Reset(function);
  ended_ = false;
  next_ = 0;
  record_ = {};
  parts_.clear();
  watch_part_ = options.watch_part;
  executed_ = 0;
  for (int mem = 0; mem < kMems; ++mem) {
    memories_[mem].Attach(&record_.memories[mem]);
    memories_[mem].Poison();
    memories_[mem].Watch(watch_ ? watch_->memory(static_cast<Mem>(mem)) : nullptr);
    // Without values only wbuf is read, where panels are.
    if (!values_ && mem != static_cast<int>(Mem::kWbuf)) memories_[mem].KeepContents();
  }
  for (Plane& plane : planes_) plane.Invalidate();
  recon_settings_.Empty();
  counters_.fill(0);
  loops_.clear();
  extents_.fill(-1);
  tokens_.fill(0);
  first_tokens_.fill(0);
  stepped_.clear();
  timing_.Reset(options.trace, options.structural);
}

CallRecord Machine::Time(const Function& function, std::vector<Span>* trace, Guard* guard) {
  RunOptions options;
  options.values = false;
  options.trace = trace;
  options.guard = guard;
  std::vector<Tensor> arguments;
  for (const Argument& argument : function.arguments) {
    arguments.push_back({nullptr, argument.bytes, argument.is_output});
  }
  return Run(function, arguments, options);
}

CallRecord Machine::Run(const Function& function, const std::vector<Tensor>& arguments,
                        const RunOptions& options) {
  Reset(function, arguments, options);
  const Instruction* current = nullptr;
  try {
    while (!ended_) {
      if (next_ >= function.code.size()) Fail(kSimError, "ran past the last instruction; no end");
      const size_t part = parts_.size() + 1;
      if (part < function.parts.size() && next_ == function.parts[part].first) {
        EndPart();
        timing_.NextPart();
      }
      current = &function.code[next_++];
      ++record_.instructions;
      ++executed_;
      if (guard_) guard_->Instruction(use_timing_ ? timing_.now() : 0);
      if (use_trace_) timing_.SetOrigin(CurrentOrigin(current->pc));
      std::visit([this](const auto& op) { Step(op); }, current->operation);
    }
  } catch (const Error& error) {
    if (error.kind() == kInputError) throw;
    Fail(error.kind(), Place(current), ": ", error.message());
  }
  EndPart();
  return Total();
}

void Machine::EndPart() {
  const size_t number = parts_.size();
  parts_.push_back(record_);
  record_ = {};
  if (watch_part_) watch_part_(number);
}

CallRecord Machine::Total() {
  CallRecord total;
  int64_t end = 0;
  PartTimes window;
  for (size_t number = 0; number < parts_.size(); ++number) {
    CallRecord& part = parts_[number];
    const bool whole = function_->parts.empty();
    part.function = function_->name;
    part.name = whole ? function_->name : function_->parts[number].name;
    part.layer = whole ? function_->layer : function_->parts[number].layer;
    if (use_timing_) {
      const PartTimes& times = timing_.parts()[number];
      const bool last = number + 1 == parts_.size();
      // Up to its last result, but for what comes before the end of an earlier part.
      const int64_t done = std::max(end, last ? cycles_ : times.done);
      part.cycles = done - end;
      part.units = times.units;
      part.array_window = times.array_window();
      part.bursts = times.bursts;
      part.recon.passes += times.recon_waits;
      part.recon.waits = times.recon_waits;
      part.recon.switch_ops += times.wait_switches;
      end = done;
      if (window.array_begin < 0) window.array_begin = times.array_begin;
      window.array_end = std::max(window.array_end, times.array_end);
    }
    total.Add(part);
  }
  total.function = total.name = function_->name;
  total.layer = function_->layer;
  total.array_window = window.array_window();
  if (function_->parts.empty()) parts_.clear();
  return total;
}

const std::string& Machine::Layer() const {
  return function_->parts.empty() ? function_->layer : function_->parts[parts_.size()].layer;
}

void Machine::FailIndex(const std::vector<uint32_t>& operands) const {
  const auto [index, size, least] =
      std::array{static_cast<int32_t>(operands[0]), static_cast<int32_t>(operands[1]),
                 static_cast<int32_t>(operands[2])};
  Fail(kInputError, Layer(), ", is outside; allowed: ", least, " to ", int64_t{size} - 1,
       "; given ", index);
}

std::string Machine::Place(const Instruction* current) const {
  std::ostringstream out;
  out << "function '" << function_->name << "', pc " << Hex{current ? current->pc : 0};
  if (use_timing_) out << ", cycle " << timing_.now();
  out << CountersText(counters_.data(), loops_.size()) << ", "
      << (current ? Text(current->operation) : "start");
  return out.str();
}

Origin Machine::CurrentOrigin(uint32_t pc) const {
  Origin origin;
  origin.pc = pc;
  origin.depth = static_cast<uint32_t>(loops_.size());
  for (uint32_t level = 0; level < origin.depth; ++level) {
    origin.counters[level] = static_cast<int32_t>(counters_[level]);
  }
  return origin;
}

int64_t Machine::At(const Affine& affine) const {
  return ValueAt(affine, counters_.data(), static_cast<int>(loops_.size()));
}

int64_t Machine::Extent(int reg) const {
  if (extents_[reg] < 0) Fail(kSimError, "extent register e", reg, " is read before any clip");
  return extents_[reg];
}

int Machine::PlaneNumber(const Affine& affine) const {
  const int64_t plane = At(affine);
  if (plane < 0 || plane >= arch_.weight_planes) {
    Fail(kSimError, "weight plane ", plane, "; allowed: 0 to ", arch_.weight_planes - 1);
  }
  return static_cast<int>(plane);
}

void Machine::Step(const Loop& op) {
  counters_[loops_.size()] = 0;
  loops_.push_back({static_cast<uint32_t>(next_), op.count});
}

void Machine::Step(const EndLoop&) {
  const OpenLoop& loop = loops_.back();
  int64_t& counter = counters_[loops_.size() - 1];
  if (++counter < loop.count) {
    next_ = loop.begin;
  } else {
    counter = 0;
    loops_.pop_back();
  }
}

void Machine::Step(const Break& op) {
  if (Extent(op.extent) == 0) {
    counters_[loops_.size() - 1] = 0;
    next_ = function_->code[loops_.back().begin - 1].partner + 1;
    loops_.pop_back();
  }
  if (use_timing_) timing_.Control();
}

void Machine::Step(const Clip& op) {
  extents_[op.extent] = ClippedExtent(op, counters_.data(), static_cast<int>(loops_.size()));
  if (use_timing_) timing_.Control();
}

void Machine::Step(const Sem& op) {
  if (tokens_[op.sem] != first_tokens_[op.sem]) {
    Fail(kSimError, "semaphore ", int{op.sem}, " is set again while its count is ", tokens_[op.sem],
         "; allowed: its first count, ", first_tokens_[op.sem]);
  }
  const int64_t delta = op.value - first_tokens_[op.sem];
  if (watch_) watch_->AddTokens(op.sem, delta);
  if (use_timing_) timing_.AddTokens(op.sem, delta);
  tokens_[op.sem] = first_tokens_[op.sem] = op.value;
}

void Machine::Step(const Wait& op) {
  if (tokens_[op.sem] == 0) {
    Fail(kSimError, "deadlock: ", kUnitNames[op.queue], " waits for semaphore ", int{op.sem},
         ", which no earlier post or sem leaves above 0");
  }
  --tokens_[op.sem];
  if (watch_) watch_->Wait(static_cast<Unit>(op.queue), op.sem);
  if (use_timing_) timing_.DispatchWait(static_cast<Unit>(op.queue), op.sem);
}

void Machine::Step(const Post& op) {
  ++tokens_[op.sem];
  const Unit unit = static_cast<Unit>(op.queue);
  if (watch_) watch_->Post(unit, op.sem, executed_, op.after == 0);
  if (use_timing_) timing_.DispatchPost(unit, op.sem, op.after != 0);
}

void Machine::Step(const End&) {
  for (int sem = 0; sem < kSemaphores; ++sem) {
    if (tokens_[sem] != first_tokens_[sem]) {
      Fail(kSimError, "semaphore ", sem, " ends at ", tokens_[sem], "; allowed: its first count, ",
           first_tokens_[sem], " (a ", tokens_[sem] < first_tokens_[sem] ? "post" : "wait",
           " is missing)");
    }
  }
  cycles_ = use_timing_ ? timing_.Finish() : 0;
  if (guard_) guard_->EndCall(cycles_);
  if (use_timing_ && use_structure_) StepTogether();
  ended_ = true;
}

template <typename Op>
void Machine::Step(const Op& op) {
  if (watch_) watch_->Begin(Op::kUnit, executed_);
  Outcome outcome = Execute(op);
  if (!use_timing_) return;
  if (outcome) {
    timing_.Dispatch(Op::kUnit, std::move(*outcome));
  } else {
    timing_.Control();
  }
}

}  // namespace microscopiq
