// A weight plane of the array: what `preload` and `recon.config` build and `matmul` uses.
#pragma once
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "isa.gen.h"
#include "kernels/kernel.h"
#include "memory/panels.h"
#include "memory/replay.h"
#include "recon/plan.h"

namespace microscopiq {

class Plane {
 public:
  void Invalidate() { loaded_ = false; }
  bool loaded() const { return loaded_; }
  // False between `preload` and `recon.config` of a format with outliers.
  bool merged() const { return merged_; }
  // True if `matmul` needs what `recon.config` brought.
  bool merges() const { return !empty() && format_ && format_->has_outliers && !replays_; }
  const PanelPart& part() const { return part_; }
  // Array rows; and which activations they take, from a row's first on.
  int rows() const { return array_rows_; }
  int first_input() const { return first_input_; }
  int inputs() const { return rows_; }
  // How often a row's activations are read: where strips of columns have lists of inputs, once for
  // each.
  int reads() const { return reads_; }
  int cols() const { return cols_; }
  int bits() const { return format_ ? format_->pe_bits : 8; }
  int64_t outlier_rows() const { return outlier_rows_; }
  // Of weights in clusters, what temporal PEs add: once per unit of a magnitude.
  int max_magnitude() const { return max_magnitude_; }
  int64_t magnitudes() const { return magnitudes_; }

  // Dense slots of a panel part, each row shifted left by guard bits + Isf - e. `slots` is the
  // start of the part's first panel row.
  void LoadSlots(const Panel& panel, const PanelPart& part, const uint8_t* slots,
                 const std::vector<int>& shifts);
  // Knows its part of a panel, but none of its values.
  void LoadShape(const Panel& panel, const PanelPart& part);
  // A part of an unfolded panel, see `preload.replay`: `replayed` says what its rows are. `slots`
  // is the start of the panel's first row; `shifts` and `outliers` are of each panel row. All three
  // are null for its shape alone.
  void LoadReplay(const Panel& panel, const PanelPart& part, const ReplayRows& replayed,
                  const uint8_t* slots, const std::vector<int>& shifts,
                  const std::vector<std::vector<Outlier>>& outliers);
  // A part of a panel in clusters; `groups` is the start of the first group with a row of the part.
  // Returns the bytes of the part's columns in all groups that have one.
  int64_t LoadClusters(const Panel& panel, const PanelPart& part, const uint8_t* groups);
  // A part of a panel in outlier-victim pairs; `slots` is the start of the first pair with a row of
  // the part.
  void LoadPairs(const Panel& panel, const PanelPart& part, const uint8_t* slots);
  // Holds nothing, and is a legal operand: `matmul` adds nothing.
  void LoadNothing() {
    Reset(0, 0);
    loaded_ = merged_ = true;
  }
  bool empty() const { return rows_ == 0 || cols_ == 0; }
  // An int8 operand stored (column, row), `pitch` bytes between columns; null: its shape alone.
  void LoadRows(const uint8_t* values, int64_t pitch, int rows, int cols);
  // Replaces the slots of one row's outliers by their merged weights; `alignment` is Isf - e.
  void MergeRow(int row, const std::vector<Outlier>& outliers, int alignment);
  // `plan` is null for a plane without outliers; a visit passes `switches`.
  void FinishMerge(int64_t outlier_rows, std::shared_ptr<const ReconPlan> plan, int64_t switches) {
    merged_ = true;
    outlier_rows_ = outlier_rows;
    recon_plan_ = std::move(plan);
    switches_ = switches;
  }
  const std::shared_ptr<const ReconPlan>& recon_plan() const { return recon_plan_; }
  int64_t switches() const { return switches_; }

  // acc = saturate([acc +] x * w); the weights' fields of `args` are filled in here.
  // Returns the saturations.
  int64_t Multiply(MatmulArgs args);

 private:
  void Reset(int rows, int cols);
  void Allocate();
  int16_t* At(int row, int col);
  void Set(int row, int col, int32_t value);
  int Slot(int row, int col) const;
  void CopySlots(const uint8_t* slots, int64_t pitch);
  // Shifts for `Decode`, of weights that fit 16 bits; bounds of all rows. Returns whether some
  // don't.
  bool BoundRows(const std::vector<int>& shifts, std::vector<int>* decode_shifts);
  void DecodeSlots(const uint8_t* source, int64_t pitch, const std::vector<int>& shifts,
                   const std::vector<int>& decode_shifts);
  void CheckExponent(int input, int col, int shift) const;
  void ClearOutside(int from, int to, const std::vector<std::vector<Outlier>>& outliers);
  void AddDigits(const ReplayRows& replayed, int from, int to, const Panel& panel,
                 const uint8_t* slots, const std::vector<int>& shifts,
                 const std::vector<std::vector<Outlier>>& outliers);
  void ListLargeRow(int row, int shift);
  void MakeWide();

  bool loaded_ = false;
  bool merged_ = false;
  PanelPart part_;
  const WeightFormat* format_ = nullptr;  // null for an operand quantized at run time
  // Rows of weights. Where the array's rows list their inputs it's all inputs of the panel that are
  // multiplied here, each by the sum of what its rows have.
  int rows_ = 0;
  int cols_ = 0;
  int array_rows_ = 0;
  int first_input_ = 0;
  int reads_ = 1;
  bool replays_ = false;
  int64_t outlier_rows_ = 0;
  int max_magnitude_ = 0;
  int64_t magnitudes_ = 0;  // sum over the plane
  std::shared_ptr<const ReconPlan> recon_plan_;
  int64_t switches_ = 0;
  std::vector<uint8_t> slots_;  // raw bytes: a slot of -0 still has the sign of its outlier
  int64_t slots_pitch_ = 0;
  std::vector<int16_t> packed_;      // see kernel.h
  std::vector<LargeWeight> large_;   // weights beyond 16 bits
  std::vector<int64_t> row_bounds_;  // at least the largest magnitude of each row
  std::vector<double> wide_;         // made when a matmul needs it
};

}  // namespace microscopiq
