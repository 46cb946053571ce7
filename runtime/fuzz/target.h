// What a fuzzer does with one program: loads it, prints it, runs every function.
#pragma once
#include <cstdint>
#include <map>
#include <string>

namespace microscopiq {

enum class Verdict {
  kRan,       // every function ran to its end
  kRefused,   // IsaError: the loader or the decoder
  kStopped,   // SimError while it ran
  kLimited,   // it ran longer than a fuzzer has time for
  kTooLarge,  // its tensors or memories would take too long to fill
};
constexpr int kVerdicts = 5;

// Counts over many programs.
struct Tally {
  int64_t programs = 0;
  int64_t by_verdict[kVerdicts] = {};
  int64_t compared = 0;                    // functions that ran again, in another mode
  std::map<std::string, int64_t> reasons;  // messages without their numbers and names

  std::string Text() const;
  // One line per reason, the most frequent first.
  std::string Reasons() const;
};

bool Loads(const uint8_t* data, size_t length);

// In which modes a program runs that got to its end in the fast one; all must give the same.
enum class Modes {
  kOne,  // one of the others, or none: as its bytes say
  kAll,  // structural, timing only, debug
};

// Anything but an `Error` of the core passes through and ends the process.
Verdict TryProgram(const uint8_t* data, size_t length, Tally* tally, Modes modes = Modes::kOne);

}  // namespace microscopiq
