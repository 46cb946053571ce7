// A weight plane as the structural array gets it: what lies in the panel, nothing merged.
#pragma once
#include <cstdint>
#include <vector>

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
  std::vector<std::vector<Outlier>> outliers;  // of each row

  int SlotAt(int row, int col) const { return slots[row * cols + col]; }
};

// Slots of a part of a panel; `slots` is the start of the part's first panel row.
RawPlane ReadSlots(const Panel& panel, const PanelPart& part, const uint8_t* slots,
                   const std::vector<int>& shifts);
// A part of a panel in clusters, through a decoder per column; `groups` is the start of the first
// group with a row of the part.
RawPlane ReadClusters(const Panel& panel, const PanelPart& part, const uint8_t* groups);
// An int8 operand stored (column, row), `pitch` bytes between columns.
RawPlane ReadRows(const uint8_t* values, int64_t pitch, int rows, int cols);

// Rows with outliers by strip, and the plan of their visits.
ReconPlan PlanOf(const ReconShape& shape, const RawPlane& plane);
// What `recon.config` writes into a strip: of each row with outliers its routes and its visits.
StripJob ConfigureStrip(const ReconShape& shape, int strip, const RawPlane& plane,
                        const ReconPlan& plan);

}  // namespace microscopiq
