#include "machine/plane.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "errors.h"
#include "kernels/slot.h"
#include "weights/outlier.h"
#include "weights/victim_pair.h"

namespace microscopiq {
namespace {
// Furthest left that a weight is shifted over the base exponent. Weights then fit 32 bits and
// sums over the array's rows stay exact in a double.
constexpr int kMaxAlignment = 24;
// A shift that leaves nothing of a slot; such rows live in `large_`.
constexpr int kShiftOut = 16;
}  // namespace

void Plane::Reset(int rows, int cols) {
  loaded_ = true;
  rows_ = array_rows_ = rows;
  cols_ = cols;
  first_input_ = 0;
  reads_ = 1;
  replays_ = false;
  outlier_rows_ = 0;
  max_magnitude_ = 0;
  magnitudes_ = 0;
  recon_plan_ = nullptr;
  large_.clear();
  wide_.clear();
}

void Plane::Allocate() {
  const size_t pairs = (rows_ + 1) / 2, blocks = (cols_ + kBlock - 1) / kBlock;
  packed_.resize(pairs * blocks * 2 * kBlock);
}

void Plane::LoadShape(const Panel& panel, const PanelPart& part) {
  Reset(static_cast<int>(part.rows), static_cast<int>(part.cols));
  part_ = part;
  format_ = panel.format;
  merged_ = !format_->has_outliers;
}

int16_t* Plane::At(int row, int col) {
  const size_t pairs = (rows_ + 1) / 2;
  return &packed_[((col / kBlock * pairs + row / 2) * kBlock + col % kBlock) * 2 + row % 2];
}

int Plane::Slot(int row, int col) const {
  return SlotAt(&slots_[row * slots_pitch_], col * format_->bits, format_->bits);
}

void Plane::LoadSlots(const Panel& panel, const PanelPart& part, const uint8_t* slots,
                      const std::vector<int>& shifts) {
  LoadShape(panel, part);
  Allocate();
  slots_pitch_ = (cols_ * format_->bits + 7) / 8;
  std::vector<int> decode_shifts;
  const bool large = BoundRows(shifts, &decode_shifts);
  const int bit = static_cast<int>(part.col0) * format_->bits;
  const uint8_t* source = slots + bit / 8;
  int64_t source_pitch = panel.pitch();
  if (format_->has_outliers || large || bit % 8) {
    CopySlots(slots, panel.pitch());
    source = slots_.data();
    source_pitch = slots_pitch_;
  }
  DecodeSlots(source, source_pitch, shifts, decode_shifts);
}

bool Plane::BoundRows(const std::vector<int>& shifts, std::vector<int>* decode_shifts) {
  bool large = false;
  row_bounds_.resize(rows_);
  *decode_shifts = shifts;
  for (int row = 0; row < rows_; ++row) {
    const int alignment = shifts[row] - format_->guard_bits;
    if (alignment < 0 || alignment > kMaxAlignment) {
      Fail(kSimError, "panel row ", part_.row0 + row, ": Isf - e = ", alignment, "; allowed: 0 to ",
           kMaxAlignment);
    }
    row_bounds_[row] = static_cast<int64_t>(format_->largest) << shifts[row];
    if (row_bounds_[row] <= INT16_MAX) continue;
    (*decode_shifts)[row] = kShiftOut;
    large = true;
  }
  return large;
}

void Plane::DecodeSlots(const uint8_t* source, int64_t pitch, const std::vector<int>& shifts,
                        const std::vector<int>& decode_shifts) {
  ActiveKernels().Decode({source, pitch, format_->codes, format_->bits, format_->values, rows_,
                          cols_, decode_shifts.data(), packed_.data()});
  for (int row = 0; row < rows_; ++row) {
    if (decode_shifts[row] == kShiftOut) ListLargeRow(row, shifts[row]);
  }
}

void Plane::LoadReplay(const Panel& panel, const PanelPart& part, const ReplayRows& replayed,
                       const uint8_t* slots, const std::vector<int>& shifts,
                       const std::vector<std::vector<Outlier>>& outliers) {
  const int row0 = static_cast<int>(part.row0), end = row0 + static_cast<int>(part.rows);
  const bool listed = end > panel.rows;
  PanelPart inputs = part;
  if (listed) inputs.row0 = 0, inputs.rows = panel.rows;
  LoadShape(panel, inputs);
  merged_ = replays_ = true;
  array_rows_ = static_cast<int>(part.rows);
  first_input_ = static_cast<int>(inputs.row0);
  reads_ = listed ? replayed.strips : 1;
  if (!slots) return;
  Allocate();
  slots_pitch_ = (cols_ * format_->bits + 7) / 8;
  const std::vector<int> own(shifts.begin() + first_input_, shifts.begin() + first_input_ + rows_);
  std::vector<int> decode_shifts;
  BoundRows(own, &decode_shifts);
  CopySlots(slots + first_input_ * panel.pitch(), panel.pitch());
  ClearOutside(row0, end, outliers);
  DecodeSlots(slots_.data(), slots_pitch_, own, decode_shifts);
  if (listed) AddDigits(replayed, std::max(row0, panel.rows), end, panel, slots, shifts, outliers);
}

void Plane::ClearOutside(int from, int to, const std::vector<std::vector<Outlier>>& outliers) {
  const int bits = format_->bits;
  for (int row = 0; row < rows_; ++row) {
    const int input = first_input_ + row;
    uint8_t* own = &slots_[row * slots_pitch_];
    if (input < from || input >= to) std::fill(own, own + slots_pitch_, uint8_t{0});
    for (const Outlier& outlier : outliers[input]) {
      for (const int col : {outlier.upper, outlier.lower}) {
        // Slots of formats with outliers are whole parts of bytes.
        const int bit = col * bits;
        own[bit / 8] &= static_cast<uint8_t>(~(((1 << bits) - 1) << (bit % 8)));
      }
    }
  }
}

void Plane::AddDigits(const ReplayRows& replayed, int from, int to, const Panel& panel,
                      const uint8_t* slots, const std::vector<int>& shifts,
                      const std::vector<std::vector<Outlier>>& outliers) {
  const int bits = format_->bits;
  const auto slot = [&](int input, int col) {
    return SlotAt(slots + input * panel.pitch(), (part_.col0 + col) * bits, bits);
  };
  for (int strip = 0; strip < replayed.strips; ++strip) {
    int row = from;
    while (row < to) {
      // All digits of an entry that are in this plane.
      const ReplayEntry& entry = replayed.At(row, strip);
      const int first = replayed.DigitOf(row);
      const int digits = std::min(replayed.digits - first, to - row);
      row += digits;
      if (entry.input < 0) continue;
      const int shift = entry.relative + shifts[entry.input] - format_->guard_bits;
      for (const Outlier& outlier : outliers[entry.input]) {
        if (outlier.relative != entry.relative) continue;
        if (outlier.upper / replayed.strip_columns != strip) continue;
        CheckExponent(entry.input, outlier.upper, shift);
        const int merged = MergedOutlier(*format_, slot(entry.input, outlier.upper),
                                         slot(entry.input, outlier.lower));
        int sum = 0;
        for (int digit = first; digit < first + digits; ++digit) {
          sum += OutlierDigit(*format_, merged, digit) * (1 << digit * bits);
        }
        const int32_t weight = sum * (1 << shift);
        Set(entry.input, outlier.upper, weight);
        int64_t& bound = row_bounds_[entry.input];
        bound = std::max<int64_t>(bound, std::abs(int64_t{weight}));
      }
    }
  }
}

void Plane::CheckExponent(int input, int col, int shift) const {
  if (shift <= kMaxAlignment) return;
  Fail(kSimError, "panel row ", input, ", column ", part_.col0 + col,
       ": outlier exponent E - e = ", shift, "; allowed: 0 to ", kMaxAlignment);
}

int64_t Plane::LoadClusters(const Panel& panel, const PanelPart& part, const uint8_t* groups) {
  LoadShape(panel, part);
  Allocate();
  row_bounds_.assign(rows_, (1 << (format_->bits - 1)) - 1);
  std::fill(packed_.begin(), packed_.end(), 0);
  const int row0 = static_cast<int>(part.row0), end = row0 + rows_;
  // Locals: what is stored could be a member for all the compiler knows.
  int largest = 0;
  int64_t total = 0, bytes = 0;
  int8_t weights[kClusterGroup];
  const int64_t pairs = (rows_ + 1) / 2;
  // All columns of a group lie before the next group.
  const uint8_t* group = groups;
  for (int first = row0 / kClusterGroup * kClusterGroup; first < end; first += kClusterGroup) {
    const int length = std::min(kClusterGroup, panel.rows - first);
    const int64_t size = GroupBytes(length);
    const uint8_t* in = group + part.col0 * size;
    const int from = std::max(first, row0), to = std::min(first + length, end);
    for (int col = 0; col < cols_; ++col) {
      DecodeGroup(in + col * size, length, weights);
      int16_t* out = &packed_[(col / kBlock * pairs * kBlock + col % kBlock) * 2];
      for (int row = from; row < to; ++row) {
        const int weight = weights[row - first], at = row - row0;
        out[at / 2 * (2 * kBlock) + at % 2] = static_cast<int16_t>(weight);
        const int magnitude = std::abs(weight);
        largest = std::max(largest, magnitude);
        total += magnitude;
      }
    }
    bytes += cols_ * size;
    group += panel.cols * size;
  }
  max_magnitude_ = largest;
  magnitudes_ = total;
  return bytes;
}

void Plane::LoadPairs(const Panel& panel, const PanelPart& part, const uint8_t* slots) {
  LoadShape(panel, part);
  Allocate();
  row_bounds_.assign(rows_, format_->largest);
  std::fill(packed_.begin(), packed_.end(), 0);
  const int64_t first = part.row0 / 2 * 2, pitch = panel.pitch();
  for (int row = 0; row < rows_; ++row) {
    const int64_t at = part.row0 + row, other = at ^ 1;
    const uint8_t* line = slots + (at - first) * pitch;
    const uint8_t* beside = other < panel.rows ? slots + (other - first) * pitch : nullptr;
    for (int col = 0; col < cols_; ++col) {
      const int64_t bit = (part.col0 + col) * format_->bits;
      const int code = SlotAt(line, bit, format_->bits);
      const int neighbour = beside ? SlotAt(beside, bit, format_->bits) : 0;
      const PairedWeight weight = DecodePaired(code, neighbour);
      *At(row, col) = static_cast<int16_t>(weight.integer * (1 << weight.exponent));
    }
  }
}

void Plane::CopySlots(const uint8_t* slots, int64_t pitch) {
  slots_.assign(rows_ * slots_pitch_, 0);
  const int bits = format_->bits, first = static_cast<int>(part_.col0) * bits;
  for (int row = 0; row < rows_; ++row) {
    const uint8_t* in = slots + row * pitch;
    uint8_t* out = &slots_[row * slots_pitch_];
    if (first % 8 == 0) {
      std::memcpy(out, in + first / 8, slots_pitch_);
      continue;
    }
    for (int at = 0; at < cols_ * bits; at += bits) {
      const int slot = SlotAt(in, first + at, bits) << (at % 8);
      out[at / 8] |= static_cast<uint8_t>(slot);
      if (slot >> 8) out[at / 8 + 1] |= static_cast<uint8_t>(slot >> 8);
    }
  }
}

void Plane::ListLargeRow(int row, int shift) {
  for (int col = 0; col < cols_; ++col) {
    Set(row, col, format_->values[Slot(row, col)] * (1 << shift));
  }
}

void Plane::LoadRows(const uint8_t* values, int64_t pitch, int rows, int cols) {
  Reset(rows, cols);
  part_ = {};
  format_ = nullptr;
  merged_ = true;
  if (!values) return;
  Allocate();
  row_bounds_.assign(rows, 128);
  std::fill(packed_.begin(), packed_.end(), 0);
  const size_t pairs = (rows + 1) / 2;
  for (int col = 0; col < cols; ++col) {
    const int8_t* in = reinterpret_cast<const int8_t*>(values + col * pitch);
    int16_t* out = &packed_[(col / kBlock * pairs * kBlock + col % kBlock) * 2];
    for (int row = 0; row < rows; ++row) out[row / 2 * (2 * kBlock) + row % 2] = in[row];
  }
}

void Plane::Set(int row, int col, int32_t value) {
  const bool fits = value >= INT16_MIN && value <= INT16_MAX;
  *At(row, col) = fits ? static_cast<int16_t>(value) : 0;
  if (!fits) large_.push_back({row, col, value});
}

void Plane::MergeRow(int row, const std::vector<Outlier>& outliers, int alignment) {
  if (row_bounds_[row] > INT16_MAX) {
    // The row's slots were all listed one by one; those of the outliers are replaced below.
    auto replaced = [&](const LargeWeight& weight) {
      return weight.row == row &&
             std::any_of(outliers.begin(), outliers.end(), [&](const Outlier& outlier) {
               return weight.col == outlier.upper || weight.col == outlier.lower;
             });
    };
    large_.erase(std::remove_if(large_.begin(), large_.end(), replaced), large_.end());
  }
  // Locals: what is stored below could be any of these for all the compiler knows.
  const int bits = format_->bits;
  const uint8_t* slots = &slots_[row * slots_pitch_];
  int64_t bound = row_bounds_[row];
  for (const Outlier& outlier : outliers) {
    const int shift = outlier.relative + alignment;
    CheckExponent(static_cast<int>(part_.row0) + row, outlier.upper, shift);
    const int upper = SlotAt(slots, outlier.upper * bits, bits);
    const int lower = SlotAt(slots, outlier.lower * bits, bits);
    const int32_t weight = MergedOutlier(*format_, upper, lower) * (1 << shift);
    Set(row, outlier.upper, weight);
    *At(row, outlier.lower) = 0;
    bound = std::max<int64_t>(bound, std::abs(int64_t{weight}));
  }
  row_bounds_[row] = bound;
}

int64_t Plane::Multiply(MatmulArgs args) {
  args.packed = packed_.data();
  args.large = large_.data();
  args.large_count = static_cast<int64_t>(large_.size());
  args.rows = rows_;
  args.cols = cols_;
  int64_t bound = 0;
  for (int64_t row_bound : row_bounds_) bound += row_bound;
  // A large weight costs about as much as eight of the wide kernel's.
  const bool few_large = args.large_count * 8 <= int64_t{rows_} * cols_;
  if (bound * 128 <= INT32_MAX && few_large) return ActiveKernels().Multiply(args);
  if (wide_.empty()) MakeWide();
  return ActiveKernels().MultiplyWide(args, wide_.data());
}

void Plane::MakeWide() {
  wide_.resize(static_cast<size_t>(rows_) * cols_);
  for (int row = 0; row < rows_; ++row) {
    for (int col = 0; col < cols_; ++col) wide_[row * cols_ + col] = *At(row, col);
  }
  for (const LargeWeight& weight : large_) wide_[weight.row * cols_ + weight.col] = weight.value;
}

}  // namespace microscopiq
