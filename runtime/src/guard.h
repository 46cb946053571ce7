// What ends a run early: a budget that is spent, or a user who wants it to end.
#pragma once
#include <chrono>
#include <cstdint>

#include "errors.h"

namespace microscopiq {

constexpr int64_t kNoLimit = INT64_MAX;

// The most that the calls of a run may take together.
struct Budget {
  int64_t cycles = kNoLimit;          // of the machine
  int64_t instructions = kNoLimit;    // the sequencer's
  int64_t stepped_cycles = kNoLimit;  // for which structural mode steps the array
};

// Thrown when the user wants a run to end. No `Error`: what is around the core knows the reason.
struct Interrupted {};

class Guard {
 public:
  // Whether a run is to end; asked a few times a second, because the answer may be slow.
  using Ask = bool (*)();

  explicit Guard(Ask ask = nullptr) : ask_(ask) {}

  void Limit(const Budget& budget) { budget_ = budget; }
  // A new run: nothing is spent.
  void Clear() { instructions_ = stepped_ = earlier_ = 0; }
  // Before each instruction of a call, and after its last; `cycle` is the call's.
  void Instruction(int64_t cycle) {
    CheckCycle(cycle);
    if (++instructions_ > budget_.instructions) FailBudget(budget_.instructions, "instructions");
    Poll(kInstructionsPerLook);
  }
  void CheckCycle(int64_t cycle) const {
    if (cycle > budget_.cycles - earlier_) FailBudget(budget_.cycles, "cycles");
  }
  void EndCall(int64_t cycles) {
    CheckCycle(cycles);
    earlier_ += cycles;
  }
  // For each cycle in which the array is stepped.
  void Step() {
    if (++stepped_ > budget_.stepped_cycles) FailBudget(budget_.stepped_cycles, "stepped_cycles");
    Poll(kStepsPerLook);
  }

 private:
  using Clock = std::chrono::steady_clock;
  // A look at the clock takes as long as a short instruction.
  static constexpr int kInstructionsPerLook = 64;
  static constexpr int kStepsPerLook = 16;
  static constexpr std::chrono::milliseconds kBetweenQuestions{50};

  void Poll(int per_look) {
    if (ask_ && ++since_look_ >= per_look) Look();
  }
  void Look();
  [[noreturn]] static void FailBudget(int64_t limit, const char* what);

  Ask ask_;
  Budget budget_;
  int64_t instructions_ = 0;
  int64_t stepped_ = 0;
  int64_t earlier_ = 0;  // cycles of the run's calls that have ended
  int since_look_ = 0;
  Clock::time_point asked_ = Clock::now();
};

}  // namespace microscopiq
