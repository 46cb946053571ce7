#include "structural/pe.h"

#include <algorithm>
#include <cstdlib>

#include "errors.h"
#include "recon/plan.h"

namespace microscopiq {
namespace {

// Its operands are 2 and 4 bits wide, each with or without sign.
int SmallMultiply(int part, int half) {
  // One comparison each: below its range an unsigned number is large.
  if (static_cast<unsigned>(part + 2) > 5 || static_cast<unsigned>(half + 8) > 23) {
    Fail(kSimError, "internal: a multiplier of 2 x 4 bits gets ", part, " x ", half);
  }
  return part * half;
}

}  // namespace

Halves SplitActivation(int8_t x, SlotCode code) {
  const bool magnitude = code == SlotCode::kSignMagnitude;
  const int value = magnitude ? std::abs(int{x}) : x;
  // An arithmetic shift: the high half of a negative number is negative, the low one never.
  return {value >> kHalfBits, value & ((1 << kHalfBits) - 1), magnitude && x < 0};
}

void Pe::Store(int part, int code) {
  const int mask = (1 << kPartBits) - 1, shift = part * kPartBits;
  weight_ = static_cast<uint8_t>((weight_ & ~(mask << shift)) | code << shift);
}

bool Pe::Sign(const Field& field) const {
  return weight_ >> ((field.first_part + field.parts) * kPartBits - 1) & 1;
}

int Pe::Multiply(const Field& field, SlotCode code, const Halves& x) const {
  int sum = 0;
  for (int i = 0; i < field.parts; ++i) {
    int part = weight_ >> (field.first_part + i) * kPartBits & ((1 << kPartBits) - 1);
    if (field.top && i == field.parts - 1 && code != SlotCode::kUnsigned) {
      const int top = 1 << (kPartBits - 1);
      part = code == SlotCode::kSignMagnitude ? part & (top - 1) : (part ^ top) - top;
    }
    // Eq. 5 for halves of 4 bits: (P11 << 6) + (P01 << 4) + (P10 << 2) + P00.
    sum += (SmallMultiply(part, x.high) * (1 << kHalfBits) + SmallMultiply(part, x.low)) *
           (1 << i * kPartBits);
  }
  return sum;
}

PeLayout::PeLayout(const ArchNumbers& arch, const PeMode& mode)
    : mode_(mode),
      pes_(static_cast<int>(arch.array_cols)),
      joined_(std::max(1, mode.bits / static_cast<int>(arch.pe_weight_bits))),
      takes_half_(arch.pe_activation_bits == kHalfBits) {
  const int parts = mode.bits / kPartBits;
  const int pe_parts = static_cast<int>(arch.pe_weight_bits) / kPartBits;
  const int columns = static_cast<int>(ArrayColumns(arch, mode.bits));
  for (int column = 0; column < columns; ++column) {
    for (int piece = 0; piece < joined_; ++piece) {
      const int first =
          arch.multi_precision ? column * parts + piece * pe_parts : column * pe_parts;
      const Pe::Field field{first % pe_parts, std::min(parts, pe_parts), piece + 1 == joined_};
      places_.push_back({first / pe_parts, field, piece * pe_parts * kPartBits});
    }
  }
}

void PeRow::Load(int column, int slot) {
  for (const auto* place = layout_->begin(column); place != layout_->end(column); ++place) {
    for (int i = 0; i < place->field.parts; ++i) {
      const int code = slot >> (place->bit + i * kPartBits) & ((1 << kPartBits) - 1);
      pes_[place->pe].Store(place->field.first_part + i, code);
    }
  }
}

Product PeRow::Multiply(int column, int8_t x) const {
  const SlotCode code = code_;
  const bool magnitude = code == SlotCode::kSignMagnitude;
  const Halves halves = !layout_->takes_half() ? SplitActivation(x, code)
                        : magnitude            ? Halves{0, std::abs(int{x}), x < 0}
                                               : Halves{0, x, false};
  int64_t sum = 0;
  bool sign = false;
  for (const auto* place = layout_->begin(column); place != layout_->end(column); ++place) {
    const Pe& pe = pes_[place->pe];
    const int64_t piece = pe.Multiply(place->field, code, halves);
    sum += piece * (int64_t{1} << place->bit);
    sign = pe.Sign(place->field);
  }
  if (magnitude) return {sign != halves.negative, sum};
  return {sum < 0, std::abs(sum)};
}

}  // namespace microscopiq
