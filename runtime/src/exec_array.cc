// The array: weights into planes, ReCoN's merges, products into accumulators.
#include <algorithm>

#include "errors.h"
#include "machine.h"

namespace microscopiq {

void Machine::CheckArray(int bits, int64_t rows, int64_t cols) const {
  if (!arch_.multi_precision && bits > arch_.pe_weight_bits) {
    Fail(kSimError, "weights of ", bits, " bits; allowed: up to ", arch_.pe_weight_bits,
         " (multi_precision = 0)");
  }
  const int64_t columns =
      arch_.multi_precision ? arch_.array_cols * arch_.pe_weight_bits / bits : arch_.array_cols;
  if (rows > arch_.array_rows || cols > columns) {
    Fail(kSimError, "a tile of ", rows, " rows x ", cols, " columns of ", bits,
         " bits; allowed: ", arch_.array_rows, " x ", columns);
  }
}

template <typename Op>
PanelPart Machine::CheckedPart(const Op& op, Panel* panel) const {
  const Memory& wbuf = memories_[static_cast<int>(Mem::kWbuf)];
  PanelPart part;
  part.address = At(op.src);
  part.format = op.format;
  part.row0 = At(op.row0);
  part.col0 = At(op.col0);
  part.rows = Extent(op.rows);
  part.cols = Extent(op.cols);
  *panel = ReadPanel(wbuf, part.address, op.format);
  CheckArray(panel->format->bits, part.rows, part.cols);
  if (panel->format->pow2 && arch_.recon_units == 0) {
    Fail(kSimError, "format ", panel->format->name, " has outliers, but recon_units = 0");
  }
  if (part.row0 < 0 || part.row0 + part.rows > panel->rows || part.col0 < 0 ||
      part.col0 + part.cols > panel->cols) {
    Fail(kSimError, "rows ", part.row0, " + ", part.rows, ", columns ", part.col0, " + ", part.cols,
         "; the panel at ", Hex{part.address}, " has ", panel->rows, " x ", panel->cols);
  }
  const bool cut =
      part.col0 % kMicroBlock || (part.cols % kMicroBlock && part.col0 + part.cols != panel->cols);
  if (panel->format->pow2 && cut) {
    Fail(kSimError, "columns ", part.col0, " + ", part.cols,
         " cut a micro-block; allowed: multiples of ", kMicroBlock, " or up to the last column");
  }
  return part;
}

Machine::Outcome Machine::Execute(const Preload& op) {
  if (Extent(op.rows) == 0 || Extent(op.cols) == 0) {
    planes_[PlaneNumber(op.plane)].LoadNothing();
    return std::nullopt;
  }
  Panel panel;
  const PanelPart part = CheckedPart(op, &panel);
  const int bits = panel.format->bits;
  shifts_.assign(part.rows, 0);
  if (panel.format->pow2) {
    const std::vector<int64_t>& rows = panel_index_.Rows(wbuf(), panel);
    for (int64_t row = 0; row < part.rows; ++row) {
      const int isf = static_cast<int8_t>(*wbuf().Peek(rows[part.row0 + row], 1));
      shifts_[row] = panel.format->guard_bits + isf - panel.exponent;
    }
  }
  const uint8_t* slots = wbuf().Peek(panel.slots() + part.row0 * panel.pitch(), 1);
  const int number = PlaneNumber(op.plane);
  planes_[number].LoadSlots(panel, part, slots, shifts_);
  if (structural_) raw_planes_[number] = ReadSlots(panel, part, slots, shifts_);
  const int64_t row_bytes = (part.cols * bits + 7) / 8 + (panel.format->pow2 ? 1 : 0);
  wbuf().CountRead(kPanelHeaderBytes + part.rows * row_bytes);
  return Work{part.rows};
}

Machine::Outcome Machine::Execute(const PreloadRows& op) {
  const int64_t rows = Extent(op.rows), cols = Extent(op.cols);
  if (rows == 0 || cols == 0) {
    planes_[PlaneNumber(op.plane)].LoadNothing();
    return std::nullopt;
  }
  CheckArray(8, rows, cols);
  const uint8_t* values = wbuf().Read({At(op.src), op.src_pitch, cols, rows});
  const int number = PlaneNumber(op.plane), row_count = static_cast<int>(rows);
  planes_[number].LoadRows(values, op.src_pitch, row_count, static_cast<int>(cols));
  if (structural_) {
    raw_planes_[number] = ReadRows(values, op.src_pitch, row_count, static_cast<int>(cols));
  }
  return Work{rows};
}

Machine::Outcome Machine::Execute(const ReconConfig& op) {
  if (Extent(op.rows) == 0 || Extent(op.cols) == 0) return std::nullopt;
  Panel panel;
  const PanelPart part = CheckedPart(op, &panel);
  if (!panel.format->pow2) {
    Fail(kSimError, "format ", panel.format->name, " has no outliers; allowed: ms2, ms4");
  }
  const int number = PlaneNumber(op.plane);
  Plane& plane = planes_[number];
  if (!plane.loaded() || !(plane.part() == part) || plane.merged()) {
    Fail(kSimError, "plane ", number, " doesn't hold fresh slots of this part of the panel at ",
         Hex{part.address}, "; allowed: after a preload of the same part");
  }
  const std::vector<int64_t>& rows = panel_index_.Rows(wbuf(), panel);
  int64_t bytes = kPanelHeaderBytes;
  for (int64_t row = 0; row < part.rows; ++row) {
    const int64_t address = rows[part.row0 + row];
    outliers_.clear();
    bytes += ReadOutliers(wbuf(), panel, address, static_cast<int>(part.col0),
                          static_cast<int>(part.cols), &outliers_);
    const int isf = static_cast<int8_t>(*wbuf().Peek(address, 1));
    plane.MergeRow(static_cast<int>(row), outliers_, isf - panel.exponent);
    if (structural_) raw_planes_[number].outliers[row] = outliers_;
  }
  plane.FinishMerge();
  wbuf().CountRead(bytes);
  record_.outlier_rows += plane.outlier_rows();
  return Work{std::max<int64_t>(1, plane.outlier_rows())};
}

Machine::Outcome Machine::Execute(const Matmul& op) {
  const int64_t m = Extent(op.rows);
  if (m == 0) return std::nullopt;
  const int number = PlaneNumber(op.plane);
  Plane& plane = planes_[number];
  if (!plane.loaded()) Fail(kSimError, "plane ", number, " was never loaded");
  if (!plane.merged()) {
    Fail(kSimError, "plane ", number,
         " holds a format with outliers, and no recon.config since its preload");
  }
  if (plane.empty()) return std::nullopt;
  const bool accumulate = At(op.accumulate) != 0;
  const int64_t rows = plane.rows(), cols = plane.cols();
  const Box sums{At(op.dst), op.dst_pitch, m, cols * 4, 4};
  if (accumulate) acc().Read(sums);
  MatmulArgs args{};
  args.x = reinterpret_cast<const int8_t*>(spad().Read({At(op.src), op.src_pitch, m, rows}));
  args.x_pitch = op.src_pitch;
  args.m = m;
  args.acc = acc().Write(sums);
  args.acc_pitch = op.dst_pitch;
  args.accumulate = accumulate;
  args.high = static_cast<int32_t>((int64_t{1} << (arch_.accumulator_bits - 1)) - 1);
  args.low = -args.high - 1;
  record_.macs += m * rows * cols;
  if (structural_) return StepMatmul(raw_planes_[number], args);
  record_.saturations += plane.Multiply(args);

  // A row with outliers passes a ReCoN unit; rows over the units' number take turns.
  const int64_t merging = plane.outlier_rows();
  const int64_t turns = merging ? (merging + arch_.recon_units - 1) / arch_.recon_units : 1;
  Work work;
  work.busy = m * turns;
  work.recon = m * (turns - 1);
  work.latency = rows + cols - 2;
  if (merging) {
    int64_t stages = 1;
    while ((int64_t{1} << (stages - 1)) < cols) ++stages;
    work.latency += stages;
  }
  return work;
}

}  // namespace microscopiq
