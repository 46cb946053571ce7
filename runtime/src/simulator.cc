#include "simulator.h"

#include <utility>

#include "errors.h"

namespace microscopiq {
namespace {

using Lock = std::lock_guard<std::mutex>;

// Functions for sizes that are kept, so that a model whose sizes vary needs no memory without end.
constexpr size_t kMostSized = 1024;

int64_t Limit(const char* name, int64_t value) {
  if (value < 0) Fail(kConfigError, name, " = ", value, "; allowed: at least 1, or 0 for no limit");
  return value ? value : kNoLimit;
}

}  // namespace

std::atomic<bool> debug_default{false};

const Function& Simulator::FunctionOf(const std::string& name) const {
  const auto found = program_.functions.find(name);
  if (found == program_.functions.end()) {
    Fail(kInputError, "no function '", name, "' in the program");
  }
  return found->second;
}

std::shared_ptr<const Function> Simulator::At(const Function& function,
                                              const std::vector<int64_t>& sizes) {
  if (function.sizes.empty()) return {std::shared_ptr<const Function>(), &function};
  Lock lock(mutex_);
  const auto key = std::make_pair(function.name, sizes);
  const auto found = sized_.find(key);
  if (found != sized_.end()) return found->second;
  if (sized_.size() == kMostSized) sized_.clear();
  std::shared_ptr<const Function> made;
  try {
    made = std::make_shared<const Function>(AtSizes(function, sizes));
  } catch (const Error& error) {
    std::string given;
    for (size_t i = 0; i < sizes.size(); ++i) {
      given += (i ? ", " : "") + function.sizes.sizes[i].name + " = " + std::to_string(sizes[i]);
    }
    Fail(error.kind(), "function '", function.name, "' for ", given, ": ", error.message());
  }
  return sized_[key] = made;
}

Machine& Simulator::machine() {
  if (!machine_) machine_ = std::make_unique<Machine>(program_.arch);
  return *machine_;
}

void Simulator::Keep(CallRecord record) {
  std::vector<CallRecord>& parts = machine().parts();
  if (parts.empty()) {
    records_.push_back(std::move(record));
  } else {
    records_.insert(records_.end(), parts.begin(), parts.end());
  }
}

void Simulator::Run(const Function& function, const std::vector<Tensor>& tensors) {
  Lock lock(mutex_);
  std::vector<Span> spans;
  RunOptions options;
  options.timing = timing_;
  options.debug = debug_.value_or(debug_default);
  options.structural = structural_;
  options.stuck_switch = stuck_switch_;
  options.trace = trace_ ? &spans : nullptr;
  options.guard = &guard_;
  if (observer_ && !function.parts.empty()) {
    options.watch_part = [&](size_t part) { observer_(function.name, part); };
  }
  Keep(machine().Run(function, tensors, options));
  if (trace_) traces_.push_back(std::move(spans));
}

void Simulator::Time(const Function& function) {
  Lock lock(mutex_);
  std::vector<Span> spans;
  Keep(machine().Time(function, trace_ ? &spans : nullptr, &guard_));
  if (trace_) traces_.push_back(std::move(spans));
}

std::string Simulator::Stats() {
  Lock lock(mutex_);
  std::string out = "[";
  for (const CallRecord& record : records_) {
    if (out.size() > 1) out += ",\n ";
    out += record.ToJson();
  }
  return out + "]";
}

void Simulator::Reset() {
  Lock lock(mutex_);
  records_.clear();
  traces_.clear();
  guard_.Clear();
}

std::vector<std::vector<Span>> Simulator::Traces() {
  Lock lock(mutex_);
  return traces_;
}

void Simulator::SetObserver(Observer observer) {
  Lock lock(mutex_);
  observer_ = std::move(observer);
}

void Simulator::SetTiming(bool on) {
  Lock lock(mutex_);
  timing_ = on;
}

void Simulator::SetTrace(bool on) {
  Lock lock(mutex_);
  trace_ = on;
}

void Simulator::SetDebug(std::optional<bool> on) {
  Lock lock(mutex_);
  debug_ = on;
}

void Simulator::SetMode(const std::string& mode) {
  if (mode != "fast" && mode != "structural") {
    Fail(kConfigError, "simulator mode '", mode, "'; allowed: fast, structural");
  }
  Lock lock(mutex_);
  structural_ = mode == "structural";
}

void Simulator::SetStuckSwitch(int rank, int column, int command) {
  if (command < 0 || command > 7) Fail(kConfigError, "command ", command, "; allowed: 0 to 7");
  Lock lock(mutex_);
  stuck_switch_ = {rank, column, static_cast<SwitchCommand>(command)};
}

void Simulator::SetBudget(int64_t cycles, int64_t instructions, int64_t stepped_cycles) {
  const Budget budget{Limit("max_cycles", cycles), Limit("max_instructions", instructions),
                      Limit("max_stepped_cycles", stepped_cycles)};
  Lock lock(mutex_);
  guard_.Limit(budget);
}

}  // namespace microscopiq
