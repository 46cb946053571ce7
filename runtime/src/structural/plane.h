// A weight plane as the structural array gets it: what lies in the panel, nothing merged.
#pragma once
#include <cstdint>
#include <vector>

#include "memory/replay.h"
#include "recon/plan.h"
#include "structural/pe.h"
#include "structural/recon_strip.h"
#include "weights/panel.h"

namespace microscopiq {

struct RawPlane {
  PeMode mode;
  int guard_bits = 0;
  int mantissa_bits = 0;
  int rows = 0;
  int cols = 0;
  std::vector<uint8_t> slots;                  // (rows, cols)
  std::vector<int> shifts;                     // Isf - e and the guard bits, of each row
  std::vector<uint8_t> exponents;              // (rows, cols): shifts of products; none: all 0
  std::vector<std::vector<Outlier>> outliers;  // of each row
  // Of an unfolded panel with rows of outliers: codes of each row; what each strip of columns takes
  // of the activations (-1: nothing, it holds zeros) and its shift, both (rows, strips).
  std::vector<SlotCode> codes;
  std::vector<int> inputs;
  std::vector<int> strip_shifts;
  int strip_columns = 0;
  int all_inputs = 0;

  int SlotAt(int row, int col) const { return slots[row * cols + col]; }
  bool listed() const { return !inputs.empty(); }
  int strips() const { return (cols + strip_columns - 1) / strip_columns; }
  // Activations of a row that streams through.
  int x_cols() const { return listed() ? all_inputs : rows; }
  // Of an array row and a column of the plane: which activation it takes, -1: none.
  int InputAt(int row, int col) const {
    if (!listed()) return row;
    return col < cols ? inputs[row * strips() + col / strip_columns] : -1;
  }
  // Of outlier-victim pairs: places that a product is shifted by.
  int ExponentAt(int row, int col) const {
    return exponents.empty() || col >= cols ? 0 : exponents[row * cols + col];
  }
  int ShiftAt(int row, int col) const {
    if (!listed()) return shifts[row] + ExponentAt(row, col);
    return col < cols ? strip_shifts[row * strips() + col / strip_columns] : 0;
  }
  SlotCode CodeOf(int row) const { return listed() ? codes[row] : mode.code; }
};

// Slots of a part of a panel; `slots` is the start of the part's first panel row.
RawPlane ReadSlots(const Panel& panel, const PanelPart& part, const uint8_t* slots,
                   const std::vector<int>& shifts);
// A part of a panel in clusters, through a decoder per column; `groups` is the start of the first
// group with a row of the part.
RawPlane ReadClusters(const Panel& panel, const PanelPart& part, const uint8_t* groups);
// A part of an unfolded panel, see `preload.replay`; `slots` is the start of the panel's first row,
// `shifts` and `outliers` are of each panel row.
RawPlane ReadReplay(const Panel& panel, const PanelPart& part, const ReplayRows& replayed,
                    const uint8_t* slots, const std::vector<int>& shifts,
                    const std::vector<std::vector<Outlier>>& outliers);
// A part of a panel in outlier-victim pairs, through a decoder per column; `slots` is the start of
// the first pair with a row of the part.
RawPlane ReadPairs(const Panel& panel, const PanelPart& part, const uint8_t* slots);
// An int8 operand stored (column, row), `pitch` bytes between columns.
RawPlane ReadRows(const uint8_t* values, int64_t pitch, int rows, int cols);

// Rows with outliers by strip, and the plan of their visits.
ReconPlan PlanOf(const ReconShape& shape, const RawPlane& plane);
// What `recon.config` writes into a strip: of each row with outliers its routes and its visits.
StripJob ConfigureStrip(const ReconShape& shape, int strip, const RawPlane& plane,
                        const ReconPlan& plan);

}  // namespace microscopiq
