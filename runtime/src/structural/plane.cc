#include "structural/plane.h"

#include <algorithm>

#include "kernels/slot.h"
#include "structural/column_decoder.h"
#include "structural/pair_decoder.h"
#include "weights/outlier.h"

namespace microscopiq {
namespace {
// A weight of 3 bits takes a slot of 4 of a PE that multiplies.
constexpr int kClusterSlotBits = 4;
}  // namespace

RawPlane ReadSlots(const Panel& panel, const PanelPart& part, const uint8_t* slots,
                   const std::vector<int>& shifts) {
  const WeightFormat& format = *panel.format;
  RawPlane plane;
  // A PE takes signs and magnitudes as they are, because ReCoN needs the sign of -0; of other
  // widths and codes it gets the integer.
  const bool whole = SlotBits(format.pe_bits) == format.bits;
  const bool raw = whole && (format.codes == Codes::kTwosComplement || format.sign_magnitude);
  plane.mode.bits = SlotBits(format.pe_bits);
  const bool magnitude = raw && format.sign_magnitude;
  plane.mode.code = magnitude ? SlotCode::kSignMagnitude : SlotCode::kTwosComplement;
  plane.guard_bits = format.guard_bits;
  plane.mantissa_bits = format.mantissa_bits;
  plane.rows = static_cast<int>(part.rows);
  plane.cols = static_cast<int>(part.cols);
  plane.shifts = shifts;
  plane.outliers.resize(part.rows);
  plane.slots.reserve(part.rows * part.cols);
  for (int64_t row = 0; row < part.rows; ++row) {
    for (int64_t col = part.col0; col < part.col0 + part.cols; ++col) {
      const int code = SlotAt(slots + row * panel.pitch(), col * format.bits, format.bits);
      const int slot = raw ? code : format.values[code] & ((1 << plane.mode.bits) - 1);
      plane.slots.push_back(static_cast<uint8_t>(slot));
    }
  }
  return plane;
}

namespace {

// A row of the panel, without its outliers.
void ReadInliers(int input, const std::vector<Outlier>& outliers, const uint8_t* slots,
                 const PanelPart& part, const WeightFormat& format, RawPlane* plane) {
  const size_t first = plane->slots.size();
  for (int64_t col = part.col0; col < part.col0 + part.cols; ++col) {
    plane->slots.push_back(static_cast<uint8_t>(SlotAt(slots, col * format.bits, format.bits)));
  }
  for (const Outlier& outlier : outliers) {
    plane->slots[first + outlier.upper] = plane->slots[first + outlier.lower] = 0;
  }
  plane->codes.push_back(plane->mode.code);
  for (int strip = 0; strip < plane->strips(); ++strip) plane->inputs.push_back(input);
}

}  // namespace

RawPlane ReadReplay(const Panel& panel, const PanelPart& part, const ReplayRows& replayed,
                    const uint8_t* slots, const std::vector<int>& shifts,
                    const std::vector<std::vector<Outlier>>& outliers) {
  const WeightFormat& format = *panel.format;
  RawPlane plane;
  plane.mode.bits = format.bits;
  plane.mode.code = SlotCode::kSignMagnitude;
  plane.rows = static_cast<int>(part.rows);
  plane.cols = static_cast<int>(part.cols);
  plane.outliers.resize(part.rows);
  plane.strip_columns = replayed.strip_columns;
  const int row0 = static_cast<int>(part.row0), end = row0 + plane.rows;
  const auto row_of = [&](int input) { return slots + input * panel.pitch(); };
  for (int row = row0; row < std::min(end, panel.rows); ++row) {
    ReadInliers(row, outliers[row], row_of(row), part, format, &plane);
    plane.strip_shifts.insert(plane.strip_shifts.end(), plane.strips(), shifts[row]);
    plane.shifts.push_back(shifts[row]);
  }
  if (end <= panel.rows) {
    // The activations are those of the rows themselves.
    plane.inputs.clear();
    return plane;
  }
  plane.all_inputs = panel.rows;
  for (int row = std::max(row0, panel.rows); row < end; ++row) {
    const int digit = replayed.DigitOf(row);
    const size_t first = plane.slots.size();
    plane.slots.resize(first + plane.cols);
    const bool top = digit + 1 == replayed.digits;
    plane.codes.push_back(top ? SlotCode::kTwosComplement : SlotCode::kUnsigned);
    for (int strip = 0; strip < replayed.strips; ++strip) {
      const ReplayEntry& entry = replayed.At(row, strip);
      plane.inputs.push_back(entry.input);
      plane.strip_shifts.push_back(0);
      if (entry.input < 0) continue;
      const int own = entry.relative + shifts[entry.input] - format.guard_bits;
      plane.strip_shifts.back() = own + digit * format.bits;
      const auto slot = [&](int col) {
        return SlotAt(row_of(entry.input), (part.col0 + col) * format.bits, format.bits);
      };
      for (const Outlier& outlier : outliers[entry.input]) {
        if (outlier.upper / replayed.strip_columns != strip) continue;
        if (outlier.relative != entry.relative) continue;
        const int merged = MergedOutlier(format, slot(outlier.upper), slot(outlier.lower));
        const int code = OutlierDigit(format, merged, digit) & ((1 << format.bits) - 1);
        plane.slots[first + outlier.upper] = static_cast<uint8_t>(code);
      }
    }
  }
  return plane;
}

RawPlane ReadClusters(const Panel& panel, const PanelPart& part, const uint8_t* groups) {
  RawPlane plane;
  plane.mode.bits = kClusterSlotBits;
  plane.mode.code = SlotCode::kSignMagnitude;
  plane.rows = static_cast<int>(part.rows);
  plane.cols = static_cast<int>(part.cols);
  plane.shifts.assign(part.rows, 0);
  plane.outliers.resize(part.rows);
  std::vector<ColumnDecoder> decoders(part.cols);
  const int row0 = static_cast<int>(part.row0);
  const int64_t skipped = ClusterBytes(row0 / kClusterGroup * kClusterGroup, panel.cols);
  for (int row = row0; row < row0 + plane.rows; ++row) {
    const int first = row / kClusterGroup * kClusterGroup;
    const int length = std::min(kClusterGroup, panel.rows - first);
    const uint8_t* in = groups + ClusterBytes(first, panel.cols) - skipped;
    in += part.col0 * GroupBytes(length);
    for (ColumnDecoder& decoder : decoders) {
      if (decoder.empty()) decoder.Take(in, length, row - first);
      in += GroupBytes(length);
      plane.slots.push_back(decoder.Next());
    }
  }
  return plane;
}

RawPlane ReadPairs(const Panel& panel, const PanelPart& part, const uint8_t* slots) {
  RawPlane plane;
  plane.mode.bits = panel.format->bits;
  plane.rows = static_cast<int>(part.rows);
  plane.cols = static_cast<int>(part.cols);
  plane.shifts.assign(part.rows, 0);
  plane.outliers.resize(part.rows);
  std::vector<PairDecoder> decoders(part.cols);
  const int64_t first = part.row0 / 2 * 2, end = part.row0 + part.rows;
  for (int64_t row = first; row < end; ++row) {
    for (int64_t col = 0; col < part.cols; ++col) {
      const auto code = [&](int64_t at) {
        if (at >= panel.rows) return 0;  // the last of an odd number is alone
        const uint8_t* line = slots + (at - first) * panel.pitch();
        return SlotAt(line, (part.col0 + col) * panel.format->bits, panel.format->bits);
      };
      PairDecoder& decoder = decoders[col];
      if (decoder.empty()) decoder.Take(code(row), code(row + 1));
      const PairedWeight weight = decoder.Next();
      if (row < part.row0) continue;  // the other row of the part's first pair
      plane.slots.push_back(static_cast<uint8_t>(weight.integer & 15));
      plane.exponents.push_back(static_cast<uint8_t>(weight.exponent));
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

StripJob ConfigureStrip(const ReconShape& shape, int strip, const RawPlane& plane,
                        const ReconPlan& plan) {
  const int first = strip * shape.strip_columns;
  StripJob job;
  job.cadence = plan.cadence;
  job.columns = std::clamp(shape.cols - first, 0, shape.strip_columns);
  if (strip >= static_cast<int>(plan.strips.size())) return job;
  for (const ReconVisit& visit : plan.strips[strip]) {
    RowConfig& config = job.rows[visit.row];
    config.visits[visit.pass] = visit;
    config.passes = visit.pass + 1;
  }
  // The last one may be cut: an array has any number of columns.
  const int blocks = (shape.strip_columns + kMicroBlock - 1) / kMicroBlock;
  for (auto& [row, config] : job.rows) {
    config.relative.assign(blocks, 0);
    config.routes.assign(blocks, RouteBlock({}));
    if (config.visits[0].waits) continue;
    config.shift = plane.shifts[row];
    config.half = plane.mantissa_bits / 2;
    std::vector<std::vector<HalfPair>> pairs(blocks);
    for (const Outlier& outlier : plane.outliers[row]) {
      const int block = (outlier.upper - first) / kMicroBlock;
      if (outlier.upper < first || block >= blocks) continue;
      pairs[block].push_back({outlier.upper % kMicroBlock, outlier.lower % kMicroBlock});
      config.relative[block] = outlier.relative;
    }
    for (int block = 0; block < blocks; ++block) config.routes[block] = RouteBlock(pairs[block]);
  }
  return job;
}

}  // namespace microscopiq
