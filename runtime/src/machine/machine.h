// The functional core: memories, planes, extents, semaphores, and the sequencer over them.
#pragma once
#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "guard.h"
#include "machine/plane.h"
#include "machine/recon_settings.h"
#include "memory/hazard.h"
#include "memory/memory.h"
#include "memory/panels.h"
#include "program/program.h"
#include "stats.h"
#include "structural/array.h"
#include "structural/recon_network.h"
#include "timing/timing.h"

namespace microscopiq {

// A tensor in DRAM, checked against the function's argument by the caller.
struct Tensor {
  uint8_t* data;
  int64_t bytes;
  bool writable;
};

// `rows` rows of `cols` elements in an argument, with bytes between rows and between elements.
struct DramBox {
  int64_t base;
  int64_t rows;
  int64_t pitch;
  int64_t cols;
  int64_t step;
  int64_t element;
};

// How a call is simulated; its values depend on none of it.
struct RunOptions {
  bool timing = true;
  bool values = true;                  // false: timing only, nothing but weight panels moves
  bool debug = false;                  // find hazards, see hazard.h
  bool structural = false;             // products by stepping every PE, see structural.h
  StuckSwitch stuck_switch;            // a fault in the structural array; none if its rank is < 0
  std::vector<Span>* trace = nullptr;  // with timing, the timeline is appended unless this is null
  Guard* guard = nullptr;              // what may end the run early; null: nothing but errors
  // Called with a part's number once its last instruction has run; empty: nobody is.
  std::function<void(size_t)> watch_part;
};

class Machine {
 public:
  explicit Machine(const ArchNumbers& arch);
  const ArchNumbers& arch() const { return arch_; }

  // Executes one function call. Throws SimError, and what its guard throws.
  CallRecord Run(const Function& function, const std::vector<Tensor>& arguments,
                 const RunOptions& options);
  // The records of the parts of the last call, none of a function of one operator.
  std::vector<CallRecord>& parts() { return parts_; }
  // The same cycles and counts, but for saturations, without a tensor and without a value.
  CallRecord Time(const Function& function, std::vector<Span>* trace = nullptr,
                  Guard* guard = nullptr);

 private:
  struct OpenLoop {
    uint32_t begin;
    uint32_t count;
  };
  // Nothing to do (an extent is 0), or what the instruction costs its unit.
  using Outcome = std::optional<Work>;

  void Reset(const Function& function, const std::vector<Tensor>& arguments,
             const RunOptions& options);
  Origin CurrentOrigin(uint32_t pc) const;
  // Where the call stands, for an error: function, pc, cycle, loops, instruction.
  std::string Place(const Instruction* current) const;
  int64_t At(const Affine& affine) const;
  int64_t Extent(int reg) const;
  int PlaneNumber(const Affine& affine) const;
  Memory& memory(Mem mem) { return memories_[static_cast<int>(mem)]; }
  Memory& spad() { return memory(Mem::kSpad); }
  Memory& wbuf() { return memory(Mem::kWbuf); }
  Memory& acc() { return memory(Mem::kAcc); }

  // Starts the next part, or ends the last one: what was counted is that of the part before.
  void EndPart();
  // What timing knows of the parts, and all of them together as the call's record.
  CallRecord Total();

  // machine.cc: the sequencer's own instructions, and how it hands out the others.
#define MICROSCOPIQ_STEP(Type) void Step(const Type& op);
  MICROSCOPIQ_SEQUENCER_INSTRUCTIONS(MICROSCOPIQ_STEP)
#undef MICROSCOPIQ_STEP
  void Step(const std::monostate&) {}
  template <typename Op>
  void Step(const Op& op);

  // What units do with their instructions.
#define MICROSCOPIQ_EXECUTE(Type) Outcome Execute(const Type& op);
  MICROSCOPIQ_UNIT_INSTRUCTIONS(MICROSCOPIQ_EXECUTE)
#undef MICROSCOPIQ_EXECUTE

  // exec_dma.cc
  // Ends the run: an index that a caller gave is outside; the layer says of what it is.
  [[noreturn]] void FailIndex(const std::vector<uint32_t>& operands) const;
  // What runs is of this layer.
  const std::string& Layer() const;
  // Gives each argument a place in the memory, and the weights one behind them.
  void PlaceInDram();
  DramSpan SpanOf(int arg, const DramBox& box) const;
  // `spans` returns where the bytes lie: called where bursts count.
  template <typename Spans>
  Work Transfer(int64_t bytes, bool write, Spans spans) const;
  // Throws SimError unless all of a box of an argument lies inside.
  void CheckDram(int arg, const DramBox& box) const;
  // First byte of a box of an argument that an instruction reads or writes, checked.
  uint8_t* Dram(int arg, const DramBox& box);
  // Bytes on the chip of a transfer's elements.
  template <typename Op>
  int64_t ChipElement(const Op& op) const;
  // Words of a box of elements that take a conversion.
  void Widen(int convert, int arg, const DramBox& box, const uint8_t* src, uint8_t* dst,
             int64_t dst_pitch) const;

  // exec_array.cc
  // The plane that an instruction of the weight loader fills.
  Plane& LoadedPlane(const Affine& plane);
  // Throws SimError for a format without outliers.
  static void RequireOutliers(const WeightFormat& format);
  // Bytes of wbuf that a part of an unfolded panel takes.
  static int64_t ReplayBytes(const Panel& panel, const PanelPart& part, const ReplayRows& replayed);
  // Reads the outliers of a part; with values, merges them into the plane.
  ReconSetting ReadOutlierRows(const Panel& panel, const PanelPart& part, Plane* plane);
  Work PreloadPairs(const Panel& panel, const PanelPart& part, const Affine& number, Plane* plane);
  // Throws SimError for an activation that is wider than PEs take beside weights of so many bits.
  void CheckCodes(const MatmulArgs& args, int inputs, int bits) const;
  Work PreloadClusters(const Panel& panel, const PanelPart& part, const Affine& number,
                       Plane* plane);
  void CheckArray(int bits, int64_t rows, int64_t cols) const;
  Work PreloadWork(const Affine& plane, int bits, int64_t rows, int64_t cols);
  Work MatmulWork(int number, int64_t m, bool accumulate);
  template <typename Op>
  PanelPart CheckedPart(const Op& op, Panel* panel) const;
  // The same, wherever its rows end.
  template <typename Op>
  PanelPart ReadPart(const Op& op, Panel* panel) const;
  // Throws SimError unless a part of a format for this array lies in a panel of so many rows, and
  // cuts no micro-block.
  void CheckInside(const PanelPart& part, const Panel& panel, int64_t rows) const;

  // exec_structural.cc: a matmul in structural mode, which must take as long as `formula` says;
  // and all of the call's as their times overlap.
  // acc = saturate([acc +] sums), sums (m, cols).
  void Accumulate(const MatmulArgs& args, int cols, const int64_t* sum);
  void StepMatmul(const std::shared_ptr<const RawPlane>& plane, const MatmulArgs& args,
                  const Work& formula);
  void StepTogether();

  // exec_vector.cc
  class VectorOp;
  // Fills `scales_` with the weight scales of a drain's columns.
  void ReadWeightScales(const Drain& op, int64_t cols);
  // Cycles of a lane for an element.
  int64_t LaneCycles(int operation_class) const;

  const ArchNumbers arch_;
  std::vector<Memory> memories_;
  std::vector<Plane> planes_;
  // In structural mode: the planes as they lie in their panels, and the call's matmuls.
  std::vector<std::shared_ptr<RawPlane>> raw_planes_;
  std::vector<SteppedMatmul> stepped_;
  PanelIndex panel_index_;
  ReplayIndex replay_index_;
  std::vector<Outlier> outliers_;
  ReconSettings recon_settings_;
  std::vector<int> shifts_;
  std::vector<float> scales_;
  Timing timing_;
  std::unique_ptr<Hazards> hazards_;  // made at the first call in debug mode

  // State of the call that runs.
  const Function* function_ = nullptr;
  std::vector<Tensor> arguments_;
  std::vector<int64_t> dram_bases_, panel_places_;
  CallRecord record_;  // of the part that runs
  std::vector<CallRecord> parts_;
  std::function<void(size_t)> watch_part_;
  int64_t executed_ = 0;  // instructions of the call
  int64_t cycles_ = 0;    // of the call, once it has ended
  bool values_ = true;    // false: timing only, nothing but weight panels moves
  bool use_timing_ = true;
  bool use_structure_ = false;
  StuckSwitch stuck_switch_;
  Guard* guard_ = nullptr;
  bool use_trace_ = false;
  Hazards* watch_ = nullptr;  // null outside of debug mode
  bool ended_ = false;
  size_t next_ = 0;  // index of the instruction after the current one
  std::array<int64_t, kLoopDepth> counters_{};
  std::vector<OpenLoop> loops_;
  std::array<int64_t, kExtentRegisters> extents_{};  // -1: not set in this call
  std::array<int64_t, kSemaphores> tokens_{};
  std::array<int64_t, kSemaphores> first_tokens_{};
};

}  // namespace microscopiq
