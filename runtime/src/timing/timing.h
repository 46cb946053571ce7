// The timing core: turns the events of the functional core into cycles. It sees no values.
//
// The sequencer dispatches instructions in program order into the units' queues. A unit starts
// the head of its queue when the unit is free, and for a `wait` when a token of the semaphore is
// there. Starts are simulated in time order. Without `overlap` nothing starts before all that
// came earlier has finished.
#pragma once
#include <algorithm>
#include <array>
#include <functional>
#include <memory>
#include <queue>
#include <vector>

#include "isa.gen.h"
#include "recon/traffic.h"
#include "stats.h"
#include "timing/dram.h"
#include "timing/plane_order.h"
#include "timing/plane_rows.h"
#include "timing/ring.h"

namespace microscopiq {

// What an instruction costs its unit.
struct Work {
  int64_t busy = 0;      // cycles until the unit can start its next instruction
  int64_t latency = 0;   // further cycles until the result is there
  int64_t recon = 0;     // part of `busy` in which the unit waits for its turn at ReCoN
  int64_t temporal = 0;  // part of `busy` in which PEs add a row again: weights beyond +-1
  int64_t hold = 0;      // further cycles until the operands have been read
  bool dram = false;     // holds the DRAM channel while busy
  // Where bursts count: what it moves, which says when it starts how long it is busy.
  std::shared_ptr<const DramTransfer> transfer;
  int64_t adds = 0;  // of temporal PEs
  // Of a matmul: rows streamed (by temporal PEs once in each cycle of a row), array rows of its
  // plane, and if that has outliers their plan.
  int64_t streamed = 0;
  int rows = 0;
  std::shared_ptr<const ReconPlan> recon_plan;
  // Of what fills a plane or streams through it.
  int plane = -1;
  size_t load = 0;          // which of the call's loads, in the order of the program
  PlaneOrder::Place place;  // and where among the plane's others it comes
};

constexpr uint32_t kNoPc = UINT32_MAX;

// Where in a program an instruction was dispatched; `kNoPc` once the last one is done.
struct Origin {
  uint32_t pc = kNoPc;
  uint32_t depth = 0;
  std::array<int32_t, kLoopDepth> counters{};
};

// Cycles that a unit spent on one thing, for a timeline.
struct Span {
  int64_t begin;
  int64_t end;
  uint16_t unit;
  uint16_t cause;
  Origin origin;
};

// When a matmul started and its visits to ReCoN by strip, for the structural array.
struct ArrayStart {
  int64_t start;
  int64_t free;  // when the next one could start
  int64_t done;  // when its last sum was there
  int depth;     // array rows that its sums went through
  size_t load;   // what its plane holds
  std::vector<std::vector<ReconVisit>> visits;
};

// What a part of a call took, see `Part` in program.h.
struct PartTimes {
  std::array<UnitCycles, kUnits> units{};  // of the units that ran, or waited to run, its work
  int64_t done = 0;                        // when all of its results were there
  int64_t array_begin = -1, array_end = -1;
  Traffic bursts;  // bytes of DRAM's bursts
  // Activation rows that ReCoN only held back, by array row and strip, and their switches.
  int64_t recon_waits = 0, wait_switches = 0;

  // Cycles from the start of the first plane's load to the last sum; 0 if there is none.
  int64_t array_window() const { return std::max<int64_t>(0, array_end - array_begin); }
};

class Timing {
 public:
  explicit Timing(const ArchNumbers& arch);

  // Spans are appended to `trace` unless it is null.
  void Reset(std::vector<Span>* trace = nullptr, bool keep_array_starts = false);
  // When the sequencer dispatches the next instruction.
  int64_t now() const { return clock_; }
  void SetOrigin(const Origin& origin) { origin_ = origin; }
  // What is dispatched from here on belongs to the call's next part.
  void NextPart() { parts_.emplace_back(); }
  // An instruction that the sequencer itself executes.
  void Control() { clock_ += arch_.sequencer_cycles; }
  // `sem`: the semaphore's count changes by `delta` at dispatch.
  void AddTokens(int sem, int64_t delta);
  void Dispatch(Unit unit, Work work);
  void DispatchWait(Unit unit, int sem);
  // The token is there when all before has finished, or when its operands were read.
  void DispatchPost(Unit unit, int sem, bool after_reading);
  // Runs everything to its end and returns the total of cycles.
  int64_t Finish();
  // Valid after `Finish`: at least one.
  const std::vector<PartTimes>& parts() const { return parts_; }
  // Of each matmul, in order, if they are kept.
  const std::vector<ArrayStart>& array_starts() const { return array_starts_; }
  // What came into the planes, in the order of the program, if starts are kept.
  const std::vector<PlaneLoad>& plane_loads() const { return plane_loads_; }

 private:
  enum class Kind : uint8_t { kWork, kWait, kPost, kPostRead };
  struct Op {
    Kind kind = Kind::kWork;
    uint8_t sem = 0;
    uint32_t part = 0;
    int64_t dispatched = 0;
    Work work;
    Origin origin;
  };
  struct UnitState {
    Ring<Op> queue;
    int64_t head = 0;  // when the queue's head can start, unless `stale`
    bool stale = true;
    int64_t free = 0;           // when the next op can start
    int64_t all_read = 0;       // when the operands of all started ops have been read
    int64_t all_done = 0;       // when all started ops have finished
    Cause last = Cause::kIdle;  // what its cycles up to `spent_until` went to
    int64_t spent_until = 0;
    size_t last_part = 0;  // and whose they were
  };
  struct Token {
    int64_t time;
    int64_t busy_end;  // from here to `time` its poster's pipeline empties
    Unit poster;

    bool operator>(const Token& other) const { return time > other.time; }
  };
  struct Semaphore {
    int64_t ready = 0;  // tokens that were there from the start; below 0: owed
    std::priority_queue<Token, std::vector<Token>, std::greater<Token>> posted;
  };

  Op MakeOp(Kind kind, int sem = 0, Work work = {}) const;
  void Push(Unit unit, Op op);
  // What the heads that wait for a semaphore know of it is out of date.
  void StaleWaiters(int sem);
  void RunAlone(Unit unit, Work work);
  // Earliest start of a unit's head, kNever if it is blocked or there is none.
  int64_t HeadStart(int unit);
  int64_t WaitStart(const Op& op, int64_t start);
  int64_t WorkStart(Unit unit, const Work& work, int64_t start) const;
  // Starts the earliest head that can start by `until`; false if there is none.
  bool StartNext(int64_t until);
  void Start(int unit, int64_t start);
  void StartWork(Unit unit, Work work, int64_t start);
  void StartLoad(Unit unit, Work* work, int64_t start);
  void StartMatmul(Work* work, int64_t start);
  void SpendBeforeWork(Unit unit, const Work& work, int64_t wanted, int64_t start);
  void TakeToken(Unit unit, int sem, int64_t from);
  void Spend(Unit unit, Cause cause, int64_t begin, int64_t end);
  void SpendRest(int64_t total);
  void TrimTrace(int64_t total);
  void FailDeadlock() const;

  const ArchNumbers arch_;
  int64_t clock_ = 0;         // when the sequencer dispatches the next instruction
  int64_t channel_free_ = 0;  // DRAM channel
  int64_t last_start_ = 0;
  std::array<UnitState, kUnits> states_;
  std::array<Semaphore, kSemaphores> semaphores_;
  std::vector<PartTimes> parts_;
  size_t running_ = 0;  // the part of what starts
  ReconTraffic traffic_;
  Dram dram_;
  PlaneRows plane_rows_;
  PlaneOrder plane_order_;
  std::vector<Ranks> passed_;         // of the matmul that starts, by strip
  std::vector<size_t> current_load_;  // of each plane, as instructions are dispatched
  size_t loads_ = 0;                  // dispatched
  std::vector<Span>* trace_ = nullptr;
  bool keep_array_starts_ = false;
  std::vector<ArrayStart> array_starts_;
  std::vector<PlaneLoad> plane_loads_;
  Origin origin_;   // of what is dispatched
  Origin started_;  // of what starts
};

}  // namespace microscopiq
