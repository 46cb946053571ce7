// A program and the machine that runs it, for callers of any thread: one call at a time.
#pragma once
#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "guard.h"
#include "machine/machine.h"
#include "program/program.h"

namespace microscopiq {

// Debug mode of simulators that were not told.
extern std::atomic<bool> debug_default;

class Simulator {
 public:
  // The blob must outlive it. `ask`: see guard.h. Throws IsaError.
  Simulator(const uint8_t* blob, uint64_t length, Guard::Ask ask)
      : program_(ParseProgram(blob, length)), guard_(ask) {}

  const Program& program() const { return program_; }
  // Throws InputError for a name that no function has.
  const Function& FunctionOf(const std::string& name) const;

  // The function for sizes; itself where it has none. Throws IsaError.
  std::shared_ptr<const Function> At(const Function& function, const std::vector<int64_t>& sizes);
  // A call; its record is kept. Throws what `Machine::Run` throws.
  void Run(const Function& function, const std::vector<Tensor>& tensors);
  // A call without tensors: no values, but every cycle and count.
  void Time(const Function& function);

  // The records since the last reset as a JSON list.
  std::string Stats();
  // Forgets records, timelines and what of the budget is spent.
  void Reset();
  // The spans of each call.
  std::vector<std::vector<Span>> Traces();

  // Called with a function's name and the number of its part that just ran; empty: nobody is.
  using Observer = std::function<void(const std::string&, size_t)>;
  void SetObserver(Observer observer);
  void SetTiming(bool on);
  void SetTrace(bool on);
  // Nothing: as `debug_default` says.
  void SetDebug(std::optional<bool> on);
  // Throws ConfigError.
  void SetMode(const std::string& mode);
  void SetStuckSwitch(int rank, int column, int command);
  // Of all calls until the next reset; 0: no limit. Throws ConfigError.
  void SetBudget(int64_t cycles, int64_t instructions, int64_t stepped_cycles);

 private:
  Machine& machine();
  void Keep(CallRecord record);

  const Program program_;
  std::mutex mutex_;  // over all that follows
  // Of functions and sizes that were called.
  std::map<std::pair<std::string, std::vector<int64_t>>, std::shared_ptr<const Function>> sized_;
  std::unique_ptr<Machine> machine_;  // made at the first run: its memories may be large
  Guard guard_;
  std::vector<CallRecord> records_;  // of parts, where a function has any
  Observer observer_;
  std::vector<std::vector<Span>> traces_;
  bool timing_ = true;
  bool structural_ = false;
  bool trace_ = false;
  std::optional<bool> debug_;
  StuckSwitch stuck_switch_;
};

}  // namespace microscopiq
