// Debug mode: finds reads of what nothing wrote, and accesses of two units that nothing orders.
//
// The simulator runs a program one instruction after another, which is one of many orders that
// the machine may take. Instructions are ordered if one unit runs both, or if a token that was
// posted behind the first was taken before the second, directly or through other units.
#pragma once
#include <array>
#include <deque>
#include <memory>
#include <vector>

#include "isa.gen.h"
#include "memory/shadow.h"
#include "program/program.h"

namespace microscopiq {

class Hazards {
 public:
  Hazards();

  // Starts a call: nothing was written, and no unit knows of another.
  void Reset(const Function& function);
  // The `number`th instruction of the call runs now, on `unit`.
  void Begin(Unit unit, int64_t number);

  // `sem`: tokens that any wait can rely on appear or vanish; they order nothing.
  void AddTokens(int sem, int64_t delta);
  void Wait(Unit unit, int sem);
  // `written`: the token says that results are there, not only that operands were read.
  void Post(Unit unit, int sem, int64_t number, bool written);

  // Accesses of the instruction that runs. A plane has two parts: what `preload` puts into the
  // array's cells, and ReCoN's merges.
  Shadow* memory(Mem mem) { return memories_[static_cast<int>(mem)].get(); }
  void ReadSlots(int plane);
  void WriteSlots(int plane);
  void ReadMerges(int plane);
  void WriteMerges(int plane);
  // A strided box of a tensor in DRAM. Only outputs that the program also reads are watched:
  // the others are touched by one unit.
  void Tensor(int arg, int64_t base, int64_t rows, int64_t pitch, int64_t cols, int64_t step,
              int64_t element);

  const Runner& runner() const { return runner_; }
  // Throws the SimError that names both instructions.
  [[noreturn]] void Report(const Race& race) const;

 private:
  struct Semaphore {
    int64_t ready = 0;  // tokens that order nothing; below 0: posted ones to drop
    std::deque<Clock> posted;
    int poster = 0;  // unit, 0 for none yet
    int waiter = 0;
    bool written = true;
  };

  const Function* function_ = nullptr;
  Runner runner_;
  std::array<Clock, kUnits> clocks_;
  std::array<Semaphore, kSemaphores> semaphores_;
  std::array<std::unique_ptr<Shadow>, kMems> memories_;
  Shadow slots_;
  Shadow merges_;
  std::vector<std::unique_ptr<Shadow>> tensors_;  // null: not watched
};

}  // namespace microscopiq
