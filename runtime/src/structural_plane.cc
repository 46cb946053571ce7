#include "structural_plane.h"

namespace microscopiq {

RawPlane ReadSlots(const Panel& panel, const PanelPart& part, const uint8_t* slots,
                   const std::vector<int>& shifts) {
  const WeightFormat& format = *panel.format;
  RawPlane plane;
  plane.mode.bits = format.bits;
  plane.mode.code = format.pow2 ? SlotCode::kSignMagnitude : SlotCode::kTwosComplement;
  plane.guard_bits = format.guard_bits;
  plane.mantissa_bits = format.mantissa_bits;
  plane.rows = static_cast<int>(part.rows);
  plane.cols = static_cast<int>(part.cols);
  plane.shifts = shifts;
  plane.outliers.resize(part.rows);
  plane.slots.reserve(part.rows * part.cols);
  for (int64_t row = 0; row < part.rows; ++row) {
    for (int64_t col = part.col0; col < part.col0 + part.cols; ++col) {
      const int64_t bit = col * format.bits;
      const int byte = slots[row * panel.pitch() + bit / 8];
      plane.slots.push_back(byte >> (bit % 8) & ((1 << format.bits) - 1));
    }
  }
  return plane;
}

RawPlane ReadRows(const uint8_t* values, int64_t pitch, int rows, int cols) {
  RawPlane plane;
  plane.mode.bits = 8;
  plane.rows = rows;
  plane.cols = cols;
  plane.shifts.assign(rows, 0);
  plane.outliers.resize(rows);
  plane.slots.reserve(static_cast<size_t>(rows) * cols);
  for (int row = 0; row < rows; ++row) {
    for (int col = 0; col < cols; ++col) plane.slots.push_back(values[col * pitch + row]);
  }
  return plane;
}

ReconPlan PlanOf(const ReconShape& shape, const RawPlane& plane) {
  StripRows strips;
  for (int row = 0; row < plane.rows; ++row) {
    if (!plane.outliers[row].empty()) AddReconRow(shape, row, plane.outliers[row], &strips);
  }
  return MakeReconPlan(shape, strips);
}

}  // namespace microscopiq
