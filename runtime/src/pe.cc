#include "pe.h"

#include <algorithm>
#include <cstdlib>

#include "errors.h"

namespace microscopiq {
namespace {

// Its operands are 2 and 4 bits wide, each with or without sign.
int SmallMultiply(int part, int half) {
  if (part < -2 || part > 3 || half < -8 || half > 15) {
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
    if (field.top && i == field.parts - 1) {
      const int top = 1 << (kPartBits - 1);
      part = code == SlotCode::kSignMagnitude ? part & (top - 1) : (part ^ top) - top;
    }
    // Eq. 5 for halves of 4 bits: (P11 << 6) + (P01 << 4) + (P10 << 2) + P00.
    sum += (SmallMultiply(part, x.high) * (1 << kHalfBits) + SmallMultiply(part, x.low)) *
           (1 << i * kPartBits);
  }
  return sum;
}

PeRow::PeRow(const ArchNumbers& arch, const PeMode& mode)
    : mode_(mode),
      pe_parts_(static_cast<int>(arch.pe_weight_bits) / kPartBits),
      shared_(arch.multi_precision),
      joined_(std::max(1, mode.bits / static_cast<int>(arch.pe_weight_bits))),
      pes_(arch.array_cols) {}

PeRow::Place PeRow::Locate(int column, int joined) const {
  const int parts = mode_.bits / kPartBits;
  if (!shared_) return {column, {0, parts, true}};
  const int first = column * parts + joined * pe_parts_;
  return {first / pe_parts_,
          {first % pe_parts_, std::min(parts, pe_parts_), joined == joined_ - 1}};
}

void PeRow::Load(int column, int slot) {
  for (int joined = 0; joined < joined_; ++joined) {
    const Place place = Locate(column, joined);
    for (int i = 0; i < place.field.parts; ++i) {
      pes_[place.pe].Store(place.field.first_part + i, slot & ((1 << kPartBits) - 1));
      slot >>= kPartBits;
    }
  }
}

Product PeRow::Multiply(int column, int8_t x) const {
  const Halves halves = SplitActivation(x, mode_.code);
  int64_t sum = 0;
  bool sign = false;
  for (int joined = 0; joined < joined_; ++joined) {
    const Place place = Locate(column, joined);
    const Pe& pe = pes_[place.pe];
    const int64_t piece = pe.Multiply(place.field, mode_.code, halves);
    sum += piece * (int64_t{1} << joined * pe_parts_ * kPartBits);
    sign = pe.Sign(place.field);
  }
  if (mode_.code == SlotCode::kSignMagnitude) return {sign != halves.negative, sum};
  return {sum < 0, std::abs(sum)};
}

}  // namespace microscopiq
