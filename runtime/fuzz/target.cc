#include "target.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <memory>
#include <vector>

#include "../src/errors.h"
#include "../src/kernel.h"
#include "../src/listing.h"
#include "../src/machine.h"
#include "../src/program.h"

namespace microscopiq {
namespace {

constexpr int64_t kMostTensorBytes = 1 << 22;
constexpr int64_t kMostInstructions = 5000;
// Elements and multiply-accumulates of a whole run, at the most that one instruction can do.
constexpr int64_t kMostWork = 400'000'000;

int64_t MostInstructions(const ArchNumbers& arch) {
  const int64_t sums = arch.acc_bytes / 4 * arch.array_rows;
  const int64_t bytes = arch.spad_bytes + arch.wbuf_bytes + arch.acc_bytes + arch.obuf_bytes;
  return std::min(kMostInstructions, kMostWork / std::max(sums, bytes));
}

// Exactly as long as declared, so that the sanitizer sees the first byte beyond.
struct Buffer {
  std::unique_ptr<uint8_t[]> bytes;
  Tensor tensor;
};

// Small values, none of which overflows on its way through a legal program.
Buffer MakeTensor(const Argument& argument) {
  Buffer buffer;
  buffer.bytes.reset(new uint8_t[static_cast<size_t>(argument.bytes)]);
  buffer.tensor = {buffer.bytes.get(), argument.bytes, argument.is_output};
  const bool is_float = argument.dtype == kDtype_float32;
  const int64_t count = is_float ? argument.bytes / 4 : argument.bytes;
  for (int64_t i = 0; i < count; ++i) {
    const int small = static_cast<int>(i * 37 % 15) - 7;
    if (is_float) {
      const float value = static_cast<float>(small) / 4;
      std::memcpy(buffer.bytes.get() + 4 * i, &value, sizeof(value));
    } else {
      buffer.bytes[i] = static_cast<uint8_t>(small);
    }
  }
  return buffer;
}

bool MakeTensors(const Function& function, std::vector<Buffer>* buffers) {
  int64_t total = 0;
  for (const Argument& argument : function.arguments) {
    total += argument.bytes;
    if (total > kMostTensorBytes) return false;
  }
  for (const Argument& argument : function.arguments) buffers->push_back(MakeTensor(argument));
  return true;
}

Verdict RunFunction(Machine* machine, const Function& function, const RunOptions& options) {
  std::vector<Buffer> buffers;
  if (!MakeTensors(function, &buffers)) return Verdict::kTooLarge;
  std::vector<Tensor> tensors;
  for (const Buffer& buffer : buffers) tensors.push_back(buffer.tensor);
  const CallRecord record = machine->Run(function, tensors, options);
  return record.ToJson().empty() ? Verdict::kStopped : Verdict::kRan;
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

}  // namespace

Verdict TryProgram(const uint8_t* data, size_t length, std::string* message) {
  Program program;
  try {
    program = ParseProgram(data, length);
  } catch (const Error& error) {
    *message = error.message();
    if (std::strcmp(error.kind(), kIsaError) != 0) throw;
    return Verdict::kRefused;
  }
  const uint32_t choice = Choice(data, length);
  const std::vector<std::string> kernels = KernelNames();
  SelectKernels(kernels[(choice >> 4) % kernels.size()]);
  std::vector<Span> trace;
  RunOptions options;
  options.most_instructions = MostInstructions(program.arch);
  options.debug = choice % 4 == 0;
  options.timing = choice % 16 != 1;
  options.trace = choice % 8 == 2 ? &trace : nullptr;
  if (options.most_instructions == 0) return Verdict::kTooLarge;
  Machine machine(program.arch);
  Verdict worst = Verdict::kRan;
  for (const auto& [name, function] : program.functions) {
    if (Listing(function).empty() != function.code.empty()) throw std::logic_error(name);
    try {
      worst = std::max(worst, RunFunction(&machine, function, options));
    } catch (const Error& error) {
      *message = error.message();
      if (std::strcmp(error.kind(), kSimError) != 0) throw;
      const bool limited = message->find(": more than ") != std::string::npos;
      worst = std::max(worst, limited ? Verdict::kLimited : Verdict::kStopped);
    }
  }
  return worst;
}

bool Loads(const uint8_t* data, size_t length) {
  try {
    ParseProgram(data, length);
    return true;
  } catch (const Error&) {
    return false;
  }
}

Verdict CountProgram(const uint8_t* data, size_t length, Tally* tally) {
  std::string message;
  const Verdict verdict = TryProgram(data, length, &message);
  ++tally->programs;
  ++tally->by_verdict[static_cast<int>(verdict)];
  if (!message.empty()) ++tally->reasons[Reason(message)];
  return verdict;
}

std::string Tally::Text() const {
  static const char* const kNames[kVerdicts] = {"ran to the end", "IsaError", "SimError",
                                                "stopped at the limit", "too large to run here"};
  std::string out = std::to_string(programs) + " programs";
  for (int verdict = 0; verdict < kVerdicts; ++verdict) {
    out += std::string(verdict ? ", " : ": ") + kNames[verdict] + " " +
           std::to_string(by_verdict[verdict]);
  }
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
