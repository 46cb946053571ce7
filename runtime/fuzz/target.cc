#include "target.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <vector>

#include "errors.h"
#include "kernels/kernel.h"
#include "machine/machine.h"
#include "program/listing.h"
#include "program/program.h"

namespace microscopiq {
namespace {

constexpr int64_t kMostTensorBytes = 1 << 22;
constexpr int64_t kMostInstructions = 5000;
constexpr int64_t kMostSteppedMacs = 20'000;
// Elements and multiply-accumulates of a whole run, at the most that one instruction can do.
constexpr int64_t kMostWork = 400'000'000;

int64_t MostInstructions(const ArchNumbers& arch) {
  const int64_t sums = arch.acc_bytes / 4 * arch.array_rows;
  const int64_t bytes = arch.spad_bytes + arch.wbuf_bytes + arch.acc_bytes + arch.obuf_bytes;
  return std::min(kMostInstructions, kMostWork / std::max(sums, bytes));
}

// Tensors of exactly the declared lengths, so that the sanitizer sees the first byte beyond.
struct Tensors {
  std::vector<std::unique_ptr<uint8_t[]>> bytes;
  std::vector<Tensor> views;
};

// Small values, none of which overflows on its way through a legal program.
void Fill(const Argument& argument, uint8_t* bytes) {
  const int64_t width = kDtypeBytes[argument.dtype];
  for (int64_t i = 0; i < argument.bytes / width; ++i) {
    const int64_t small = i * 37 % 15 - 7;
    const float value = static_cast<float>(small) / 4;
    const bool is_float = argument.dtype == kDtype_float32;
    std::memcpy(bytes + width * i, is_float ? static_cast<const void*>(&value) : &small, width);
  }
}

Tensors MakeTensors(const Function& function) {
  Tensors tensors;
  for (const Argument& argument : function.arguments) {
    tensors.bytes.emplace_back(new uint8_t[static_cast<size_t>(argument.bytes)]);
    Fill(argument, tensors.bytes.back().get());
    tensors.views.push_back({tensors.bytes.back().get(), argument.bytes, argument.is_output});
  }
  return tensors;
}

bool IsTooLarge(const Function& function) {
  int64_t total = 0;
  for (const Argument& argument : function.arguments) total += argument.bytes;
  return total > kMostTensorBytes;
}

// Whether weights come from the segment alone: then a run without values has the same costs.
bool LoadsPanelsOnly(const Function& function) {
  for (const Instruction& instruction : function.code) {
    const auto* load = std::get_if<DmaLoad>(&instruction.operation);
    const auto* gather = std::get_if<DmaIm2col>(&instruction.operation);
    const auto* indexed = std::get_if<DmaGather>(&instruction.operation);
    const uint8_t wbuf = static_cast<uint8_t>(Mem::kWbuf);
    if ((load && load->mem == wbuf) || (gather && gather->mem == wbuf) ||
        (indexed && indexed->mem == wbuf)) {
      return false;
    }
  }
  return true;
}

// Ends the process: the modes of the simulator disagree.
[[noreturn]] void FailModes(const Function& function, const char* mode, const char* what) {
  throw std::logic_error(function.name + ": " + mode + " gives other " + what);
}

// Whether debug mode finds nothing that no token orders.
bool IsOrdered(Machine* machine, const Function& function, RunOptions options) {
  Tensors tensors = MakeTensors(function);
  options.structural = false;
  options.debug = true;
  options.guard->Clear();
  try {
    machine->Run(function, tensors.views, options);
  } catch (const Error&) {
    return false;
  }
  return true;
}

// What ran to its end runs again in another mode, which may cost more and must give the same.
// Returns false if that mode refuses it.
bool CompareModes(Machine* machine, const Function& function, RunOptions options, uint32_t choice,
                  const Tensors& first, const CallRecord& record) {
  const bool steps = choice % 2 && record.macs < kMostSteppedMacs;
  if (choice % 4 == 2) {
    if (!LoadsPanelsOnly(function)) return false;
    if (machine->Time(function).cycles != record.cycles) FailModes(function, "timing", "cycles");
    return true;
  }
  const char* mode = steps ? "structural" : "debug";
  (steps ? options.structural : options.debug) = true;
  Tensors second = MakeTensors(function);
  options.guard->Clear();
  try {
    const CallRecord other = machine->Run(function, second.views, options);
    if (other.ToJson() != record.ToJson()) FailModes(function, mode, "counts");
  } catch (const Error& error) {
    // Debug mode refuses more, and stepping some machines isn't offered.
    if (!steps || error.message().find(": structural mode: pe_") != std::string::npos) return false;
    // Where tokens order loads and products, planes without any are what was loaded last.
    const bool load = error.message().find(" of another load than ") != std::string::npos;
    const bool by_tokens = !machine->arch().row_release;
    if (load && by_tokens && !IsOrdered(machine, function, options)) return false;
    FailModes(function, mode, error.what());
  }
  for (size_t i = 0; i < first.views.size(); ++i) {
    if (std::memcmp(first.views[i].data, second.views[i].data, first.views[i].bytes) != 0) {
      FailModes(function, mode, "values");
    }
  }
  return true;
}

Verdict RunFunction(Machine* machine, const Function& function, RunOptions options, uint32_t choice,
                    Modes modes, Tally* tally) {
  std::vector<uint32_t> choices{0, 1, 2};  // debug, structural, timing
  if (IsTooLarge(function)) return Verdict::kTooLarge;
  options.guard->Clear();
  Tensors tensors = MakeTensors(function);
  if (function.weights.shape_only) {
    // Without weights there are no values; the module refuses anything else.
    options.values = options.debug = false;
    machine->Run(function, tensors.views, options);
    return Verdict::kRan;
  }
  const CallRecord record = machine->Run(function, tensors.views, options);
  if (modes == Modes::kOne) choices = {choice};
  for (uint32_t each : choices) {
    tally->compared += CompareModes(machine, function, options, each, tensors, record);
  }
  return Verdict::kRan;
}

// The modes that a program is run in follow from its bytes: the same file, the same run.
uint32_t Choice(const uint8_t* data, size_t length) {
  uint32_t hash = 2166136261u;
  for (size_t i = 0; i < length; ++i) hash = (hash ^ data[i]) * 16777619u;
  return hash ^ hash >> 16;
}

// What was wrong, without where: names and instructions before the colon, and all numbers.
std::string Reason(const std::string& message) {
  const size_t colon = message.find(": ");
  const bool placed = message.rfind("function '", 0) == 0 && colon != std::string::npos;
  std::string reason;
  bool quoted = false, number = false;
  for (const char c : placed ? message.substr(colon + 2) : message) {
    // Names are quoted; the apostrophe of "isn't" stands behind a letter.
    if (c == '\'' && (quoted || reason.empty() || reason.back() == ' ')) quoted = !quoted;
    const bool digit = (c >= '0' && c <= '9') || (number && ((c >= 'a' && c <= 'f') || c == 'x'));
    if (!quoted && !(digit && number)) reason += digit ? '#' : c;
    number = digit;
  }
  return reason;
}

// Sizes that a call of the function may have.
std::vector<int64_t> SmallerSizes(const Function& function, uint32_t choice) {
  std::vector<int64_t> sizes;
  for (const Size& size : function.sizes.sizes) {
    sizes.push_back(size.least + choice % (size.most - size.least + 1));
    choice = choice >> 3 | choice << 29;
  }
  return sizes;
}

// Runs what was loaded.
Verdict RunProgram(const Program& program, uint32_t choice, Modes modes, std::string* message,
                   Tally* tally) {
  const std::vector<std::string> kernels = KernelNames();
  SelectKernels(kernels[(choice >> 8) % kernels.size()]);
  std::vector<Span> trace;
  RunOptions options;
  Guard guard;
  if (const int64_t most = MostInstructions(program.arch)) {
    guard.Limit({kNoLimit, most, kNoLimit});
  } else {
    return Verdict::kTooLarge;
  }
  options.guard = &guard;
  options.debug = modes == Modes::kOne && (choice >> 4) % 4 == 0;
  options.trace = (choice >> 6) % 4 == 0 ? &trace : nullptr;
  Machine machine(program.arch);
  Verdict worst = Verdict::kRan;
  for (const auto& [name, function] : program.functions) {
    if (Listing(function).empty() != function.code.empty()) throw std::logic_error(name);
    try {
      worst = std::max(worst, RunFunction(&machine, function, options, choice, modes, tally));
      if (function.sizes.empty()) continue;
      const Function sized = AtSizes(function, SmallerSizes(function, choice));
      worst = std::max(worst, RunFunction(&machine, sized, options, choice, modes, tally));
    } catch (const Error& error) {
      *message = error.message();
      const bool limited = std::strcmp(error.kind(), kBudgetError) == 0;
      // An index outside ends a run as what a program does wrong does.
      const bool ended =
          std::strcmp(error.kind(), kSimError) == 0 || std::strcmp(error.kind(), kInputError) == 0;
      const bool sized = !function.sizes.empty() && std::strcmp(error.kind(), kIsaError) == 0;
      if (!limited && !sized && !ended) throw;
      worst = std::max(worst, limited ? Verdict::kLimited : Verdict::kStopped);
    }
  }
  return worst;
}

}  // namespace

Verdict TryProgram(const uint8_t* data, size_t length, Tally* tally, Modes modes) {
  std::string message;
  Verdict verdict = Verdict::kRefused;
  try {
    const Program program = ParseProgram(data, length);
    verdict = RunProgram(program, Choice(data, length), modes, &message, tally);
  } catch (const Error& error) {
    message = error.message();
    if (std::strcmp(error.kind(), kIsaError) != 0) throw;
  }
  ++tally->programs;
  ++tally->by_verdict[static_cast<int>(verdict)];
  if (!message.empty()) ++tally->reasons[Reason(message)];
  return verdict;
}

bool Loads(const uint8_t* data, size_t length) {
  try {
    ParseProgram(data, length);
    return true;
  } catch (const Error&) {
    return false;
  }
}

std::string Tally::Text() const {
  static const char* const kNames[kVerdicts] = {"ran to the end", "IsaError", "SimError",
                                                "stopped at the limit", "too large to run here"};
  std::string out = std::to_string(programs) + " programs";
  for (int verdict = 0; verdict < kVerdicts; ++verdict) {
    out += std::string(verdict ? ", " : ": ") + kNames[verdict] + " " +
           std::to_string(by_verdict[verdict]);
  }
  out += "; ran again in another mode " + std::to_string(compared);
  return out + "; " + std::to_string(reasons.size()) + " reasons of errors";
}

std::string Tally::Reasons() const {
  std::vector<std::pair<int64_t, std::string>> sorted;
  for (const auto& [reason, count] : reasons) sorted.push_back({-count, reason});
  std::sort(sorted.begin(), sorted.end());
  std::string out;
  for (const auto& [count, reason] : sorted) out += std::to_string(-count) + "  " + reason + "\n";
  return out;
}

}  // namespace microscopiq
